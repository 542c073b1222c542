// Sends back what it gets, until it gets "bye".
const dgram = require('dgram');
const type = process.argv[2];
const socket = dgram.createSocket(type, (msg, from) => {
  socket.send(msg, from.port, from.address, () => {
    if (msg.toString() === 'bye') socket.close();
  });
});
socket.bind(0, type === 'udp4' ? '127.0.0.1' : '::1', () => console.log(socket.address().port));
