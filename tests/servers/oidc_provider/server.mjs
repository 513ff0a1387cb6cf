// An authorization server for tests: auto-consent, PKCE required, rotation with reuse detection, short tokens.
// Prints one JSON line when it listens: {"issuer": …}. Ends with its standard input, so it never outlives a test run.
//
// GET /test/token-requests answers what the token endpoint was asked and how it answered, secrets as digests only, so
// that a test can say that no refresh token was spent twice.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider, errors } from 'oidc-provider';

const options = JSON.parse(process.argv[2] ?? '{}');
const tokenSeconds = options.tokenSeconds ?? 70;
const requests = [];
const digest = (value) => (value ? createHash('sha256').update(value).digest('hex') : null);

let handler = (_request, response) => response.writeHead(503).end();
const server = createServer((request, response) => handler(request, response));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

// With private_key_jwt there is no secret: the keys come with the client or from its jwks_uri.
const authMethod = options.authMethod ?? 'client_secret_basic';
const credentials = (secret) =>
  authMethod === 'private_key_jwt'
    ? { token_endpoint_auth_method: authMethod, ...(options.jwksUri ? { jwks_uri: options.jwksUri } : { jwks: options.jwks }) }
    : { token_endpoint_auth_method: authMethod, client_secret: secret };
const authenticationOf = (ctx) => {
  if (ctx.headers.authorization) return 'client_secret_basic';
  if (ctx.oidc.body?.client_assertion) return 'private_key_jwt';
  return ctx.oidc.body?.client_secret ? 'client_secret_post' : 'none';
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'code-client',
      ...credentials('code-client-secret-0123456789-abcdefghij'),
      redirect_uris: [options.redirectUri ?? 'http://localhost:8000/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      scope: 'openid profile email offline_access notes:read',
    },
    {
      client_id: 'service-client',
      // RFC 6749 §2.3.1 wants these characters form-encoded before Basic; this server decodes them.
      ...credentials('service:client%secret+0123456789/abcdef=&ghij'),
      redirect_uris: [],
      grant_types: ['client_credentials'],
      response_types: [],
      scope: 'notes:read',
    },
  ],
  scopes: ['openid', 'profile', 'email', 'offline_access', 'notes:read'],
  claims: { openid: ['sub'], email: ['email'], profile: ['name'] },
  findAccount: async (_ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, name: 'Robin Rivers', email: 'robin@example.com' }),
  }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    // RFC 8707: options.resource is the one resource that it issues tokens for; it notes what was asked for.
    resourceIndicators: {
      enabled: options.resource !== undefined,
      getResourceServerInfo: (_ctx, resource) => {
        if (resource !== options.resource) throw new errors.InvalidTarget();
        return { scope: 'notes:read', accessTokenTTL: tokenSeconds };
      },
    },
    registration: { enabled: options.registration ?? false, initialAccessToken: options.initialAccessToken ?? false },
    registrationManagement: { enabled: options.registration ?? false },
  },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (_ctx, client, code) =>
    client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  ttl: {
    AccessToken: tokenSeconds,
    ClientCredentials: tokenSeconds,
    AuthorizationCode: 60,
    RefreshToken: 3600,
    Grant: 3600,
    IdToken: tokenSeconds,
    Session: 3600,
    Interaction: 600,
  },
  // The dispatcher refuses loopback addresses, and a jwks_uri of the code under test is on one.
  fetch: (url, { dispatcher: _dispatcher, ...rest }) => fetch(url, rest),
  cookies: { keys: ['test-cookie-key'] },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  jwks: undefined,
});

// The interaction "page": signs Robin in and grants all that was asked, unless the server was started to refuse.
async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (options.refuse) {
    return provider.interactionFinished(request, response, {
      error: 'access_denied',
      error_description: 'The person refused.',
    });
  }
  const grant = new provider.Grant({ accountId: 'robin', clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope);
  if (options.resource) grant.addResourceScope(options.resource, details.params.scope);
  const grantId = await grant.save();
  return provider.interactionFinished(request, response, { login: { accountId: 'robin' }, consent: { grantId } });
}

provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route === 'token') {
    requests.push({
      grant_type: ctx.oidc.body?.grant_type ?? null,
      // It takes either from a client with a secret (never both at once), so a test has to look which one came.
      client_authentication: authenticationOf(ctx),
      refresh_token: digest(ctx.oidc.body?.refresh_token),
      resource: ctx.oidc.body?.resource ?? null,
      status: ctx.status,
      error: ctx.body?.error ?? null,
    });
  }
});

const callback = provider.callback();
handler = (request, response) => {
  if (request.url === '/test/token-requests') {
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(requests));
  } else if (request.url.startsWith('/interaction/')) {
    interact(request, response).catch((error) => response.writeHead(500).end(String(error)));
  } else {
    callback(request, response);
  }
};

process.stdin.on('end', () => process.exit(0)).resume();
console.log(JSON.stringify({ issuer }));
