// Asks an echo server one message after the other, of many sizes, and compares the answers.
const dgram = require('dgram');
const crypto = require('crypto');
const [type, port] = process.argv.slice(2);
const sizes = [0, 1, 64, 1472, 9000, 65000];
for (let i = 0; i < 500; i++) sizes.push(i);
let want;
const socket = dgram.createSocket(type, (msg) => {
  if (!msg.equals(want)) {
    console.log('a wrong answer');
    process.exit(1);
  }
  next();
});
function next() {
  if (sizes.length === 0) {
    socket.close(() => console.log('all the same'));
    return;
  }
  want = crypto.randomBytes(sizes.shift());
  socket.send(want);
}
socket.connect(+port, type === 'udp4' ? '127.0.0.1' : '::1', next);
