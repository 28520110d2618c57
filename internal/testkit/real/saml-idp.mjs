// A real SAML identity provider for tests: npm samlp, configured by RIG (JSON).
// It signs everybody in as RIG.user and believes signed requests only. Whom it
// has signed in is at /participants; GET /slo alone signs everybody out.
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import samlp from 'samlp';
import SessionParticipants from 'samlp/lib/sessionParticipants/index.js';

const { port, issuer, key, cert, acs, slo, sp, spCert, user, options } = JSON.parse(process.env.RIG);

const persistent = 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent';

// What samlp reads of a person, and under which names it says so.
class Mapper {
  getClaims() { return user.attributes; }
  getNameIdentifier() { return { nameIdentifier: user.nameID, nameIdentifierFormat: persistent }; }
}
Mapper.prototype.metadata = [];
const profileMapper = () => new Mapper();

const metadata = samlp.metadata({
  issuer, cert, profileMapper: Mapper, redirectEndpointPath: '/sso', postEndpointPath: '/sso', logoutEndpointPaths: { redirect: '/slo', post: '/slo' },
});
// Who is signed in where, and what samlp remembers between the steps of a logout.
const participants = [], session = {};
const sso = (req, res, fail) => {
  const sessionIndex = `_${randomUUID()}`;
  participants.push({
    serviceProviderId: sp, serviceProviderLogoutURL: slo, sessionIndex, nameId: user.nameID, nameIdFormat: persistent, cert: spCert,
    binding: 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect',
  });
  samlp.auth({
    issuer, key, cert, profileMapper, signingCert: spCert, recipient: acs, destination: acs, lifetimeInSeconds: 300, sessionIndex,
    getUserFromRequest: () => user, getPostURL: (_audience, _request, _req, done) => done(null, acs), ...options,
  })(req, res, fail);
};
// samlp keeps where the answer goes in what it is given: a new one each time.
const logout = (req, res, fail) => samlp.logout({
  issuer, key, cert, deflate: true, protocolBinding: 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect',
  sessionParticipants: new SessionParticipants(participants),
})(req, res, fail);

createServer((req, res) => {
  const url = new URL(req.url, issuer);
  // The part of Express that samlp uses.
  Object.assign(req, { query: Object.fromEntries(url.searchParams), body: {}, protocol: 'http', originalUrl: req.url, session });
  res.set = (name, value) => { res.setHeader(name, value); return res; };
  res.redirect = (to) => { res.writeHead(302, { location: to }); res.end(); };
  res.send = (status, body) => {
    if (typeof status === 'number') res.statusCode = status; else body = status;
    res.end(body ?? 'done');
  };
  const fail = (err) => { res.statusCode = 400; res.end(String(err)); };
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    if (req.method === 'POST') req.body = Object.fromEntries(new URLSearchParams(Buffer.concat(parts).toString()));
    try {
      if (url.pathname === '/metadata') metadata(req, res);
      else if (url.pathname === '/sso') sso(req, res, fail);
      else if (url.pathname === '/slo') logout(req, res, fail);
      else if (url.pathname === '/participants') res.end(String(participants.length));
      else { res.statusCode = 404; res.end(); }
    } catch (err) { fail(err); }
  });
}).listen(port, '127.0.0.1');
