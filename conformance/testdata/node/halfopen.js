'use strict';
// The client sends a question and ends. The server answers a while after that end, and ends too:
// node halfopen.js server PORT, or node halfopen.js client PORT. Each side prints its events.

const net = require('node:net');

const [, , side, port] = process.argv;

function printEvents(socket) {
  socket.on('data', (chunk) => console.log(`data ${chunk}`));
  socket.on('end', () => console.log('end'));
  socket.on('finish', () => console.log('finish'));
  socket.on('close', (hadError) => console.log(`close ${hadError}`));
}

function serve() {
  const server = net.createServer({ allowHalfOpen: true }, (c) => {
    printEvents(c);
    c.on('end', () => setTimeout(() => c.end('Resposta depois do fim'), 10));
  });
  server.listen(Number(port), () => {
    console.log(`Servidor escutando na porta ${server.address().port}`);
  });
}

function connect() {
  const client = net.connect({ host: '127.0.0.1', port: Number(port) });
  printEvents(client);
  client.end('Pergunta');
}

if (side === 'server') serve(); else connect();
