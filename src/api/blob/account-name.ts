/** Names of storage accounts. An account is the first segment of its blobs' path, so it may not be one of the server's own. */
export const ACCOUNT_NAME = /^[a-z0-9]{3,24}$/

/** First segments of paths that are no accounts. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'adfs',
  'aliases',
  'blob',
  'common',
  'graph',
  'healthz',
  'holdfast',
  'linked',
  'locations',
  'metadata',
  'metrics',
  'organizations',
  'portal',
  'providers',
  'subscriptions',
  'tenants',
])
