// A real SAML identity provider for tests: npm samlp, configured by RIG (JSON).
// It signs everybody in as RIG.user and believes signed requests only.
import { createServer } from 'node:http';
import samlp from 'samlp';

const { port, issuer, key, cert, acs, spCert, user, options } = JSON.parse(process.env.RIG);

// What samlp reads of a person, and under which names it says so.
class Mapper {
  getClaims() { return user.attributes; }
  getNameIdentifier() { return { nameIdentifier: user.nameID, nameIdentifierFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent' }; }
}
Mapper.prototype.metadata = [];
const profileMapper = () => new Mapper();

const metadata = samlp.metadata({
  issuer, cert, profileMapper: Mapper, redirectEndpointPath: '/sso', postEndpointPath: '/sso', logoutEndpointPaths: { redirect: '/slo', post: '/slo' },
});
const sso = samlp.auth({
  issuer, key, cert, profileMapper, signingCert: spCert, recipient: acs, destination: acs, lifetimeInSeconds: 300,
  getUserFromRequest: () => user, getPostURL: (_audience, _request, _req, done) => done(null, acs), ...options,
});

createServer((req, res) => {
  const url = new URL(req.url, issuer);
  // The part of Express that samlp uses.
  Object.assign(req, { query: Object.fromEntries(url.searchParams), body: {}, protocol: 'http', originalUrl: req.url });
  res.set = (name, value) => { res.setHeader(name, value); return res; };
  res.send = (status, body) => {
    if (typeof status === 'number') res.statusCode = status; else body = status;
    res.end(body ?? '');
  };
  const fail = (err) => { res.statusCode = 400; res.end(String(err)); };
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    if (req.method === 'POST') req.body = Object.fromEntries(new URLSearchParams(Buffer.concat(parts).toString()));
    try {
      if (url.pathname === '/metadata') metadata(req, res);
      else if (url.pathname === '/sso') sso(req, res, fail);
      else { res.statusCode = 404; res.end(); }
    } catch (err) { fail(err); }
  });
}).listen(port, '127.0.0.1');
