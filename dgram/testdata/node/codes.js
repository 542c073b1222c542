// Prints the code of each situation, a line for each: "name CODE".
const dgram = require('dgram');
const told = (name, err) => console.log(name, err ? err.code : 'none');
function thrown(name, fn) {
  try {
    fn();
    told(name);
  } catch (err) {
    told(name, err);
  }
}
const mute = (s) => s.on('error', () => {});

const sizes = { '2G-1': 2 ** 31 - 1, '2G': 2 ** 31, '4G-1': 2 ** 32 - 1, '4G': 2 ** 32 };
thrown('bad-type', () => dgram.createSocket('udp5'));
const unbound = mute(dgram.createSocket('udp4'));
thrown('unbound-ttl', () => unbound.setTTL(1));
thrown('unbound-broadcast', () => unbound.setBroadcast(true));
thrown('unbound-buffer', () => unbound.getRecvBufferSize());
thrown('unbound-remote', () => unbound.remoteAddress());
thrown('unbound-disconnect', () => unbound.disconnect());
thrown('send-port-0', () => unbound.send('x', 0, '127.0.0.1'));
thrown('send-no-port', () => unbound.send('x'));
thrown('connect-port-0', () => unbound.connect(0));
thrown('no-group', () => unbound.addMembership(''));
for (const [name, size] of Object.entries(sizes)) thrown(`unbound-buffer-${name}`, () => unbound.setRecvBufferSize(size));
thrown('option-negative', () => dgram.createSocket({ type: 'udp4', recvBufferSize: -1 }));
thrown('option-4G', () => dgram.createSocket({ type: 'udp4', sendBufferSize: 2 ** 32 }));
unbound.close();
for (const [name, fn] of Object.entries({
  'closed-close': () => unbound.close(),
  'closed-bind': () => unbound.bind(0),
  'closed-send': () => unbound.send('x', 1, '127.0.0.1'),
  'closed-remote': () => unbound.remoteAddress(),
  'closed-membership': () => unbound.addMembership('224.0.0.114'),
})) thrown(name, fn);

const s = mute(dgram.createSocket('udp4'));
s.bind(0, '127.0.0.1', () => {
  thrown('bind-twice', () => s.bind(0));
  thrown('ttl-0', () => s.setTTL(0));
  thrown('ttl-256', () => s.setTTL(256));
  thrown('multicast-ttl-256', () => s.setMulticastTTL(256));
  thrown('multicast-ttl-0', () => s.setMulticastTTL(0));
  thrown('junk-group', () => s.addMembership('junk'));
  thrown('no-multicast-group', () => s.addMembership('1.2.3.4'));
  thrown('drop-unknown-group', () => s.dropMembership('224.0.0.114', '127.0.0.1'));
  thrown('junk-interface', () => s.setMulticastInterface('junk'));
  thrown('strange-interface', () => s.setMulticastInterface('9.9.9.9'));
  thrown('junk-source', () => s.addSourceSpecificMembership('junk', '232.1.1.1', '127.0.0.1'));
  thrown('negative-buffer', () => s.setRecvBufferSize(-1));
  for (const [name, size] of Object.entries(sizes)) {
    thrown(`buffer-${name}`, () => s.setRecvBufferSize(size));
    thrown(`send-buffer-${name}`, () => s.setSendBufferSize(size));
  }
  s.send(Buffer.alloc(70000), 9, '127.0.0.1', (err) => {
    told('oversized', err);
    s.send('x', 9, '255.255.255.255', (err) => {
      told('broadcast', err);
      s.send('x', 9, '::1', (err) => {
        told('wrong-family', err);
        s.send([], 9, '127.0.0.1', (err) => {
          told('empty', err);
          const taken = dgram.createSocket('udp4').on('error', (err) => {
            told('taken', err);
            taken.close();
            s.close();
            connected();
          });
          taken.bind(s.address().port, '127.0.0.1');
        });
      });
    });
  });
});

function connected() {
  const dead = dgram.createSocket('udp4');
  dead.bind(0, '127.0.0.1', () => {
    const { port } = dead.address();
    dead.close();
    const c = dgram.createSocket('udp4').on('error', (err) => {
      told('refused', err);
      c.close();
    });
    c.connect(port, '127.0.0.1', () => {
      thrown('connect-twice', () => c.connect(port, '127.0.0.1'));
      thrown('connected-send', () => c.send(Buffer.from('x'), 0, 1, port, '127.0.0.1'));
      c.send('x');
    });
    thrown('connecting-connect', () => c.connect(port, '127.0.0.1'));
    thrown('connecting-disconnect', () => c.disconnect());
    thrown('connecting-send', () => c.send('x'));
  });
}
