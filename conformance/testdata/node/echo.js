'use strict';
// An echo of many bytes: node echo.js server PORT, or node echo.js client PORT SIZE.
// Each side prints the number of bytes that it received, and their SHA-256. The client also prints them for the bytes it sent.

const crypto = require('node:crypto');
const net = require('node:net');

const [, , side, port, size] = process.argv;

function hash(socket, print) {
  const sum = crypto.createHash('sha256');
  socket.on('data', (chunk) => sum.update(chunk));
  socket.on('end', () => print(`${socket.bytesRead} ${sum.digest('hex')}`));
}

function serve() {
  const server = net.createServer((c) => {
    hash(c, (line) => console.log(line));
    c.pipe(c);
  });
  server.listen(Number(port), () => {
    console.log(`Servidor escutando na porta ${server.address().port}`);
  });
}

function connect() {
  const data = crypto.randomBytes(Number(size));
  const client = net.connect({ host: '127.0.0.1', port: Number(port) });
  hash(client, (line) => {
    console.log(`${data.length} ${crypto.createHash('sha256').update(data).digest('hex')}`);
    console.log(line);
  });

  let sent = 0;
  function send() {
    while (sent < data.length) {
      const chunk = data.subarray(sent, sent + 10000);
      sent += chunk.length;
      if (!client.write(chunk)) {
        client.once('drain', send);
        return;
      }
    }
    client.end();
  }
  send();
}

if (side === 'server') serve(); else connect();
