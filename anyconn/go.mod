module evnet/anyconn

go 1.25

replace evnet => ../

require (
	evnet v0.0.0-00010101000000-000000000000
	github.com/hashicorp/yamux v0.1.2
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
	golang.org/x/crypto v0.48.0
	golang.org/x/net v0.50.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.41.0 // indirect
)
