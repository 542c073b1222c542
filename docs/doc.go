// Package docs has the pages and the tests that compare them with the code. The tests check that snippets compile, that links
// have targets, that names and tests exist, that figures equal the measurements, and that all exported names are documented.
package docs
