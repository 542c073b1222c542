'use strict';
// The server of the lesson on Node's net: node server.js PORT. Port 0 selects a free port.

const net = require('node:net');

const server = net.createServer((c) => {
  console.log('Cliente conectado');
  c.on('end', () => console.log('Cliente desconectado'));
  c.write('Mensagem do servidor!\r\n');
  c.pipe(c);
});
server.listen(Number(process.argv[2]), () => {
  console.log(`Servidor escutando na porta ${server.address().port}`);
});
