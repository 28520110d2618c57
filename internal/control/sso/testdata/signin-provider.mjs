// A real OpenID Provider with people, groups, RP-initiated and back-channel
// logout: npm oidc-provider, configured by RIG (JSON).
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const { port, issuer, client } = JSON.parse(process.env.RIG);
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  clients: [client],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'k1', use: 'sig', alg: 'RS256' }] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: 'Ada', groups: ['eng'] }),
  }),
  // Its own guard against addresses like ours is left out: we are on loopback.
  fetch: (url, { dispatcher: _, ...options }) => globalThis.fetch(url, options),
  features: { backchannelLogout: { enabled: true } },
});
provider.on('backchannel.error', (_ctx, err) => console.log('back-channel logout failed:', err.message, err.cause));
provider.listen(port, '127.0.0.1');
