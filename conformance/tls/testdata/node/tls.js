'use strict';
// Both sides send SIZE bytes to each other at the same time, under TLS, and end. They print their events, and the sizes and
// hashes of the sent and received data: node tls.js server PORT SIZE CERT KEY [starttls], or
// node tls.js client PORT SIZE CA [starttls]. With starttls, both start with plain text and agree on TLS with one line each.

const crypto = require('node:crypto');
const fs = require('node:fs');
const net = require('node:net');
const tls = require('node:tls');

const [, , side, port, size, ...rest] = process.argv;
const starttls = rest[rest.length - 1] === 'starttls';

function exchange(socket) {
  const received = crypto.createHash('sha256');
  const sent = crypto.createHash('sha256');
  const piece = crypto.randomBytes(100000);
  let got = 0;
  let left = Number(size);
  socket.on('data', (chunk) => { got += chunk.length; received.update(chunk); });
  socket.on('end', () => console.log('end'));
  socket.on('error', (err) => console.log(`error ${err.code}`));
  socket.on('close', (hadError) => {
    console.log(`sent ${size} ${sent.digest('hex')}`);
    console.log(`received ${got} ${received.digest('hex')}`);
    console.log(`close ${hadError}`);
  });
  const send = () => {
    while (left > 0) {
      const chunk = piece.subarray(0, Math.min(left, piece.length));
      left -= chunk.length;
      sent.update(chunk);
      if (!socket.write(chunk)) { socket.once('drain', send); return; }
    }
    socket.end();
  };
  send();
}

// once calls fn when the peer has said the line.
function once(socket, line, fn) {
  let said = '';
  socket.on('data', function listen(chunk) {
    said += chunk;
    if (said !== line) return;
    socket.removeListener('data', listen);
    socket.pause();
    fn();
  });
}

if (side === 'server') {
  const secure = { cert: fs.readFileSync(rest[0]), key: fs.readFileSync(rest[1]), allowHalfOpen: true };
  const server = starttls ? net.createServer({ allowHalfOpen: true }, (c) => {
    once(c, 'STARTTLS\r\n', () => {
      c.write('220 go\r\n');
      const over = new tls.TLSSocket(c, { ...secure, isServer: true });
      over.allowHalfOpen = true;
      over.once('secure', () => exchange(over));
    });
  }) : tls.createServer(secure, exchange);
  server.listen(Number(port), '127.0.0.1', () => {
    console.log(`Servidor escutando na porta ${server.address().port}`);
  });
} else {
  const secure = { host: '127.0.0.1', port: Number(port), ca: fs.readFileSync(rest[0]), allowHalfOpen: true };
  if (starttls) {
    const plain = net.connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true }, () => plain.write('STARTTLS\r\n'));
    once(plain, '220 go\r\n', () => {
      const client = tls.connect({ ...secure, socket: plain });
      client.on('secureConnect', () => exchange(client));
    });
  } else {
    const client = tls.connect(secure, () => exchange(client));
  }
}
