'use strict';
// The client of the lesson on Node's net: node client.js PORT.

const net = require('node:net');

const client = net.connect({ host: '127.0.0.1', port: Number(process.argv[2]) }, () => {
  console.log('Cliente conectado ao servidor!');
});
client.on('data', (chunk) => {
  console.log(chunk.toString());
  client.end();
});
client.on('end', () => console.log('Desconectado do servidor'));
