/**
 * What may be said of a router, service or middleware by labels, and how Traefik reads it. One field that Traefik does
 * not know, or cannot read, makes it refuse everything that stands in etcd: so what is not in this table is refused here.
 * By Traefik's reference of Docker labels (docs/content/reference/dynamic-configuration/docker-labels.yml of version 3.7),
 * in the spelling of its KV keys. Not here: plugins, whose fields nobody knows, and a server's URL, which the registry
 * knows better. `*` is a name that the user gives, `#` an index.
 */
export type FieldKind =
  | 'text'
  | 'name' // a text that must not be empty
  | 'boolean'
  | 'integer'
  | 'duration' // 10 (seconds) or 1m30s
  | 'list' // a,b in a label, a key for each in etcd
  | 'switch' // true or false for a part that may also have fields of its own (tls, tls.certresolver)

const domains = { 'domains/#/main': 'name', 'domains/#/sans': 'list' } as const
const basic = { headerField: 'text', realm: 'text', removeHeader: 'boolean', users: 'list' } as const
const client = {
  ca: 'text',
  caOptional: 'boolean',
  cert: 'text',
  insecureSkipVerify: 'boolean',
  key: 'text',
} as const
const ipStrategy = { depth: 'integer', excludedIPs: 'list', ipv6Subnet: 'integer' } as const
const person = [
  'commonName',
  'country',
  'domainComponent',
  'locality',
  'organization',
  'province',
  'serialNumber',
]

/** The fields of a part below its own path. */
const below = (path: string, fields: Readonly<Record<string, FieldKind>>): Record<string, FieldKind> =>
  Object.fromEntries(Object.entries(fields).map(([name, kind]) => [`${path}/${name}`, kind]))
const all = (kind: FieldKind, names: readonly string[]): Record<string, FieldKind> =>
  Object.fromEntries(names.map((name) => [name, kind]))

const source = {
  ...below('ipStrategy', ipStrategy),
  requestHeaderName: 'name',
  requestHost: 'boolean',
} as const

const httpRouter: Record<string, FieldKind> = {
  entryPoints: 'list',
  middlewares: 'list',
  ...below('observability', all('boolean', ['accessLogs', 'metrics', 'tracing'])),
  'observability/traceVerbosity': 'name',
  priority: 'integer',
  rule: 'name',
  ruleSyntax: 'name',
  service: 'name',
  tls: 'switch',
  ...below('tls', { certResolver: 'name', options: 'name', ...domains }),
}

const httpService: Record<string, FieldKind> = {
  ...below('healthCheck', {
    followRedirects: 'boolean',
    'headers/*': 'text',
    hostname: 'text',
    interval: 'duration',
    method: 'name',
    mode: 'name',
    path: 'text',
    port: 'integer',
    scheme: 'name',
    status: 'integer',
    timeout: 'duration',
    unhealthyInterval: 'duration',
  }),
  passHostHeader: 'boolean',
  ...below('passiveHealthCheck', { failureWindow: 'duration', maxFailedAttempts: 'integer' }),
  'responseForwarding/flushInterval': 'duration',
  serversTransport: 'name',
  sticky: 'switch',
  'sticky/cookie': 'switch',
  ...below('sticky/cookie', {
    domain: 'text',
    httpOnly: 'boolean',
    maxAge: 'integer',
    name: 'text',
    path: 'text',
    sameSite: 'name',
    secure: 'boolean',
  }),
  strategy: 'name',
}

const headers: Record<string, FieldKind> = {
  ...all('boolean', [
    'accessControlAllowCredentials',
    'addVaryHeader',
    'browserXssFilter',
    'contentTypeNosniff',
    'forceSTSHeader',
    'frameDeny',
    'isDevelopment',
    'sslForceHost',
    'sslRedirect',
    'sslTemporaryRedirect',
    'stsIncludeSubdomains',
    'stsPreload',
  ]),
  ...all('list', [
    'accessControlAllowHeaders',
    'accessControlAllowMethods',
    'accessControlAllowOriginList',
    'accessControlAllowOriginListRegex',
    'accessControlExposeHeaders',
    'allowedHosts',
    'hostsProxyHeaders',
  ]),
  ...all('text', [
    'contentSecurityPolicy',
    'contentSecurityPolicyReportOnly',
    'customBrowserXSSValue',
    'customFrameOptionsValue',
    'customRequestHeaders/*',
    'customResponseHeaders/*',
    'featurePolicy',
    'permissionsPolicy',
    'publicKey',
    'referrerPolicy',
    'sslHost',
    'sslProxyHeaders/*',
  ]),
  ...all('integer', ['accessControlMaxAge', 'stsSeconds']),
}

const httpMiddleware: Record<string, FieldKind> = {
  'addPrefix/prefix': 'name',
  ...below('basicAuth', { ...basic, usersFile: 'text' }),
  ...below('buffering', {
    ...all('integer', [
      'maxRequestBodyBytes',
      'maxResponseBodyBytes',
      'memRequestBodyBytes',
      'memResponseBodyBytes',
    ]),
    retryExpression: 'text',
  }),
  'chain/middlewares': 'list',
  ...below('circuitBreaker', {
    ...all('duration', ['checkPeriod', 'fallbackDuration', 'recoveryDuration']),
    expression: 'name',
    responseCode: 'integer',
  }),
  compress: 'switch',
  ...below('compress', {
    defaultEncoding: 'text',
    ...all('list', ['encodings', 'excludedContentTypes', 'includedContentTypes']),
    minResponseBodyBytes: 'integer',
  }),
  contentType: 'switch',
  'contentType/autoDetect': 'boolean',
  ...below('digestAuth', { ...basic, usersFile: 'text' }),
  ...below('errors', {
    errorRequestHeaders: 'list',
    query: 'text',
    service: 'name',
    status: 'list',
    'statusRewrites/*': 'integer',
  }),
  ...below('forwardAuth', {
    address: 'name',
    ...all('list', ['addAuthCookiesToResponse', 'authRequestHeaders', 'authResponseHeaders']),
    ...all('text', ['authResponseHeadersRegex', 'headerField']),
    ...all('boolean', [
      'forwardBody',
      'preserveLocationHeader',
      'preserveRequestMethod',
      'trustForwardHeader',
    ]),
    ...all('integer', ['maxBodySize', 'maxResponseBodySize']),
    ...below('tls', client),
  }),
  'grpcWeb/allowOrigins': 'list',
  ...below('headers', headers),
  ...below('ipAllowList', {
    ipStrategy: 'switch',
    ...below('ipStrategy', ipStrategy),
    rejectStatusCode: 'integer',
    sourceRange: 'list',
  }),
  ...below('ipWhiteList', { ipStrategy: 'switch', ...below('ipStrategy', ipStrategy), sourceRange: 'list' }),
  ...below('inFlightReq', { amount: 'integer', ...below('sourceCriterion', source) }),
  ...below('passTLSClientCert', {
    ...below('info/issuer', all('boolean', person)),
    ...below('info/subject', all('boolean', [...person, 'organizationalUnit'])),
    ...below('info', all('boolean', ['notAfter', 'notBefore', 'sans', 'serialNumber'])),
    pem: 'boolean',
  }),
  ...below('rateLimit', {
    average: 'integer',
    burst: 'integer',
    period: 'duration',
    ...below('redis', {
      ...all('integer', ['db', 'maxActiveConns', 'minIdleConns', 'poolSize']),
      ...all('duration', ['dialTimeout', 'readTimeout', 'writeTimeout']),
      endpoints: 'list',
      password: 'text',
      username: 'text',
      ...below('tls', { ca: 'text', cert: 'text', insecureSkipVerify: 'boolean', key: 'text' }),
    }),
    ...below('sourceCriterion', source),
  }),
  ...below('redirectRegex', { permanent: 'boolean', regex: 'name', replacement: 'text' }),
  ...below('redirectScheme', { permanent: 'boolean', port: 'text', scheme: 'name' }),
  'replacePath/path': 'name',
  ...below('replacePathRegex', { regex: 'name', replacement: 'text' }),
  ...below('retry', { attempts: 'integer', initialInterval: 'duration' }),
  ...below('stripPrefix', { forceSlash: 'boolean', prefixes: 'list' }),
  'stripPrefixRegex/regex': 'list',
}

const tcpRouter: Record<string, FieldKind> = {
  entryPoints: 'list',
  middlewares: 'list',
  priority: 'integer',
  rule: 'name',
  ruleSyntax: 'name',
  service: 'name',
  tls: 'switch',
  ...below('tls', { certResolver: 'name', options: 'name', passthrough: 'boolean', ...domains }),
}

const tcpService: Record<string, FieldKind> = {
  proxyProtocol: 'switch',
  'proxyProtocol/version': 'integer',
  serversTransport: 'name',
  terminationDelay: 'integer',
}

const tcpMiddleware: Record<string, FieldKind> = {
  'ipAllowList/sourceRange': 'list',
  'ipWhiteList/sourceRange': 'list',
  'inFlightConn/amount': 'integer',
}

/** Of a service: what stands in the label at `server`, of which port and scheme become part of an address. */
const servers = {
  http: { port: 'name', scheme: 'name', weight: 'integer', preservePath: 'boolean' },
  tcp: { port: 'name', tls: 'boolean' },
  udp: { port: 'name' },
} as const

export const protocols = ['http', 'tcp', 'udp'] as const
export type Protocol = (typeof protocols)[number]
export type Part = 'routers' | 'services' | 'middlewares'

/** Everything below <protocol>/<part>/<name>/. */
export const fields: Readonly<Record<Protocol, Readonly<Record<Part, Readonly<Record<string, FieldKind>>>>>> =
  {
    http: {
      routers: httpRouter,
      services: { ...below('loadBalancer', httpService), ...below('loadBalancer/server', servers.http) },
      middlewares: httpMiddleware,
    },
    tcp: {
      routers: tcpRouter,
      services: { ...below('loadBalancer', tcpService), ...below('loadBalancer/server', servers.tcp) },
      middlewares: tcpMiddleware,
    },
    udp: {
      routers: { entryPoints: 'list', service: 'name' },
      services: below('loadBalancer/server', servers.udp),
      middlewares: {},
    },
  }
