'use strict';
// Prints the codes that Node reports, as JSON: node codes.js DIR
// DIR has ca.pem, cert.pem and key.pem. DIR/bad has NAME-cert.pem and NAME-key.pem of servers that a client refuses.

const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const stream = require('stream');
const tls = require('tls');
const util = require('util');

const dir = process.argv[2];
const file = (name) => fs.readFileSync(path.join(dir, name));
const ca = file('ca.pem'), cert = file('cert.pem'), key = file('key.pem');
const failures = JSON.parse(fs.readFileSync(path.join(__dirname, 'failures.json')));

// errno maps the names of system errors to their numbers on this system. system has those that libuv reports.
function errno() {
  const names = { ...os.constants.errno };
  const system = {};
  for (const [number, [name]] of util.getSystemErrorMap()) {
    if (Object.values(names).includes(-number)) system[name] = -number;
  }
  return { names, system };
}

const listen = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));

// toClient returns the code of a client whose server answers the ClientHello with bytes, and ends.
async function toClient(bytes, options) {
  const server = net.createServer((c) => {
    c.on('error', () => {});
    c.once('data', () => c.end(bytes));
  });
  const port = await listen(server);
  const code = await new Promise((resolve) => {
    const c = tls.connect({ port, host: '127.0.0.1', ca, ...options });
    c.once('error', (err) => resolve(err.code || err.message));
    c.once('secureConnect', () => resolve('connected'));
    c.on('close', () => resolve('closed'));
  });
  server.close();
  return code;
}

// serverCode returns the code of a server to which connect connects a client.
async function serverCode(options, connect) {
  const server = tls.createServer({ key, cert, ...options });
  const port = await listen(server);
  let client;
  const code = await new Promise((resolve) => {
    server.once('tlsClientError', (err) => resolve(err.code || err.message));
    server.on('secureConnection', (c) => {
      c.once('error', (err) => resolve(err.code || err.message));
      c.on('close', () => resolve('closed'));
      c.resume();
    });
    client = connect(port);
    client.on('error', () => {});
    client.resume();
  });
  client.destroy();
  server.close();
  return code;
}

const toServer = (bytes) => serverCode({}, (port) => {
  const c = net.connect(port, '127.0.0.1', () => c.end(bytes));
  return c;
});

const negotiate = (serverOptions, clientOptions) => serverCode(serverOptions,
  (port) => tls.connect({ port, host: '127.0.0.1', ca, ...clientOptions }));

// corrupt returns the code of a server that receives a record with a wrong authentication tag.
const corrupt = (maxVersion) => serverCode({ maxVersion }, (port) => {
  const below = net.connect(port, '127.0.0.1');
  let corrupting = false;
  const socket = new stream.Duplex({
    read() {},
    write(p, encoding, done) {
      if (corrupting) p[p.length - 1] ^= 1;
      below.write(p, done);
    },
    destroy(err, done) {
      below.destroy();
      done(err);
    },
  });
  below.on('data', (p) => socket.push(p)).on('error', () => {}).on('close', () => socket.destroy());
  const client = tls.connect({ socket, servername: 'localhost', ca }, () => setImmediate(() => {
    corrupting = true;
    client.write('x');
  }));
  return client;
});

(async () => {
  const result = { node: process.version, openssl: process.versions.openssl, errno: errno(), alerts: {}, toClient: {}, toServer: {} };
  for (let alert = 0; alert < 256; alert++) {
    const code = await toClient(Buffer.from([21, 3, 3, 0, 2, 2, alert]), { rejectUnauthorized: false });
    if (code.startsWith('ERR_SSL_')) result.alerts[alert] = code;
  }
  for (const [name, hex] of Object.entries(failures.toClient)) result.toClient[name] = await toClient(Buffer.from(hex, 'hex'));
  for (const [name, hex] of Object.entries(failures.toServer)) result.toServer[name] = await toServer(Buffer.from(hex, 'hex'));
  const v12 = { maxVersion: 'TLSv1.2' }, v13 = { minVersion: 'TLSv1.3' };
  const asks = { requestCert: true, ca };
  result.server = {
    'no client certificate, TLS 1.2': await negotiate({ ...asks, ...v12 }, {}),
    'no client certificate, TLS 1.3': await negotiate(asks, {}),
    'unsupported version': await negotiate(v13, v12),
    'no shared cipher': await negotiate({ ...v12, ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' }, { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }),
    'no shared group, TLS 1.2': await negotiate({ ...v12, ecdhCurve: 'P-384' }, { ecdhCurve: 'P-521' }),
    'no shared group, TLS 1.3': await negotiate({ ...v13, ecdhCurve: 'P-384' }, { ecdhCurve: 'P-521' }),
    'no shared protocol': await negotiate({ ALPNProtocols: ['a'] }, { ALPNProtocols: ['b'] }),
    'no certificate': await negotiate({ key: undefined, cert: undefined }, {}),
    'no shared signature algorithm': await negotiate(v13, { sigalgs: 'rsa_pss_rsae_sha256' }),
    'corrupt record, TLS 1.2': await corrupt('TLSv1.2'),
    'corrupt record, TLS 1.3': await corrupt('TLSv1.3'),
  };
  result.certificates = {};
  for (const name of fs.readdirSync(path.join(dir, 'bad')).filter((n) => n.endsWith('-cert.pem')).map((n) => n.slice(0, -9)).sort()) {
    const server = tls.createServer({ cert: file(`bad/${name}-cert.pem`), key: file(`bad/${name}-key.pem`) });
    const port = await listen(server);
    result.certificates[name] = await new Promise((resolve) => {
      const c = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
      c.once('error', (err) => { resolve(err.code || err.message); c.destroy(); });
      c.once('secureConnect', () => { resolve('connected'); c.destroy(); });
    });
    server.close();
  }
  console.log(JSON.stringify(result, null, 1));
})();
