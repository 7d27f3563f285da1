/** Tokens and signed URLs that are expired, forged, changed or somebody else's, on requests that would otherwise be done. */
import type { SeededRandom } from '#base'
import { type HostileRequest, type Kind, VERSION } from './request.ts'

export const badToken: Kind = (random, target) => {
  const { group, disk, subscription, badTokens } = target
  const [method, path, body] = random.pick<readonly [string, string, unknown]>([
    ['GET', `${subscription}/resources`, undefined],
    ['GET', disk, undefined],
    ['GET', '/subscriptions', undefined],
    ['GET', '/no/such/path', undefined],
    ['DELETE', group, undefined],
    ['DELETE', disk, undefined],
    ['PATCH', disk, { tags: { hostile: 'yes' } }],
    ['PUT', `${subscription}/resourceGroups/new`, { location: 'eastus' }],
    ['POST', `${disk}/beginGetAccess`, { access: 'Read', durationInSeconds: 60 }],
    ['GET', '/graph/v1.0/servicePrincipals', undefined],
  ])
  return {
    kind: 'token',
    method,
    path: `${path}?${VERSION}`,
    ...(body !== undefined && { body: JSON.stringify(body) }),
    authorization: random.chance(0.1) ? null : random.pick(badTokens),
    shape: 'arm',
  }
}

/** One letter of what is signed, or of the signature, is another; or a part is missing; or it is used elsewhere. */
function changed(random: SeededRandom, url: string): string {
  const [path = '', query = ''] = url.split('?', 2)
  const pairs = query.split('&')
  // Of a disk's URL these say what the signature holds anyway.
  const covered = pairs.filter((pair) => !path.startsWith('/blob/') || !/^(sv|sr|se)=/.test(pair))
  const pair = random.pick(covered)
  const [name = '', value = ''] = pair.split('=', 2)
  const letter = random.below(value.length)
  const other = `${name}=${value.slice(0, letter)}${value[letter] === 'A' ? 'B' : 'A'}${value.slice(letter + 1)}`
  return random.pick([
    `${path}?${query.replace(pair, other)}`,
    `${path}?${query.replace(pair, '')}`,
    `${path}?`,
    `${path}?${query.replace(/sig=[^&]*/, `sig=${'%00'.repeat(random.below(50))}`)}`,
    `${path.replace(/[^/]+$/, '..')}?${query}`,
    `${path.replace(/[^/]+$/, '%2e%2e%2f%ff')}?${query}`,
    `${path}x?${query}`,
  ])
}

export const badSignedUrl: Kind = (random, { signedDisk, signedUpload, signedBlob }) => {
  const url = random.pick([signedDisk, signedUpload, signedBlob])
  const isUpload = url === signedUpload
  const request: HostileRequest = {
    kind: 'signed URL',
    method: isUpload ? 'PUT' : random.pick(['GET', 'HEAD']),
    path: `${changed(random, url)}${isUpload ? '&comp=page' : ''}`,
    authorization: null,
    shape: 'blob',
  }
  if (!isUpload) return request
  const headers = { 'x-ms-page-write': 'update', 'x-ms-range': 'bytes=0-511' }
  return { ...request, headers, body: new Uint8Array(512).fill(7) }
}

/** A good URL to read, for what it does not allow; a good URL to write, with what is no page. */
export const misusedSignedUrl: Kind = (random, { signedDisk, signedUpload, signedBlob }) => {
  const page = { 'x-ms-page-write': 'update', 'x-ms-range': 'bytes=0-511' }
  const body = new Uint8Array(512).fill(7)
  const common = { authorization: null, shape: 'blob' as const, kind: 'misused URL' }
  return random.pick<HostileRequest>([
    { ...common, method: 'PUT', path: `${signedDisk}&comp=page`, headers: page, body },
    { ...common, method: 'DELETE', path: signedDisk },
    { ...common, method: 'PUT', path: signedBlob, headers: { 'x-ms-blob-type': 'BlockBlob' }, body },
    { ...common, method: 'DELETE', path: signedBlob },
    { ...common, method: 'GET', path: signedUpload },
    { ...common, method: 'GET', path: signedDisk, headers: { range: 'bytes=999999999999-' } },
    { ...common, method: 'PUT', path: `${signedUpload}&comp=page`, headers: { ...page, 'x-ms-range': 'bytes=1-512' }, body },
    { ...common, method: 'PUT', path: `${signedUpload}&comp=page`, headers: { ...page, 'x-ms-range': 'bytes=0-1023' }, body },
    { ...common, method: 'PUT', path: `${signedUpload}&comp=page`, headers: { ...page, 'x-ms-range': 'bytes=99999999744-99999999999999' }, body },
    { ...common, method: 'PUT', path: `${signedUpload}&comp=page`, headers: { ...page, 'content-md5': 'x' }, body },
    { ...common, method: 'PUT', path: `${signedUpload}&comp=page`, headers: { 'x-ms-range': 'bytes=0-511' }, body },
    { ...common, method: 'PUT', path: signedUpload, headers: { 'x-ms-blob-type': 'BlockBlob' }, body },
    { ...common, method: 'PUT', path: signedUpload, headers: { 'x-ms-blob-type': 'PageBlob', 'x-ms-blob-content-length': '1e9' } },
    { ...common, method: 'POST', path: signedUpload },
  ]) // prettier-ignore
}

export const badLogin: Kind = (random, { clientId, secret }) => {
  const good = {
    grant_type: 'client_credentials',
    client_id: clientId,
    client_secret: secret,
    scope: 'https://management.azure.com/.default',
  }
  const form: Record<string, string> = random.pick<Record<string, string>>([
    { ...good, grant_type: random.pick(['password', 'authorization_code', '', '__proto__']) },
    { ...good, client_id: random.pick(['', '0', "' or 1=1", '\u0000', 'x'.repeat(9000), clientId.slice(1)]) },
    { ...good, client_secret: random.pick(['', secret.slice(1), `${secret} `, secret.toUpperCase(), 'x'.repeat(9000)]) },
    { ...good, scope: random.pick(['', 'https://evil.example/.default', '/.default', 'x'.repeat(5000)]) },
    { grant_type: 'client_credentials', client_id: clientId, client_assertion: random.pick(['', 'a.b.c', 'x'.repeat(5000)]), client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', scope: good.scope },
    {},
  ]) // prettier-ignore
  return {
    kind: 'login',
    method: 'POST',
    path: random.pick(['/adfs/oauth2/token', '/x/oauth2/v2.0/token', '/common/oauth2/token']),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: random.chance(0.1) ? random.bytes(50) : new URLSearchParams(form).toString(),
    authorization: null,
    shape: 'oauth',
  }
}
