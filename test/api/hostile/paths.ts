/** Paths, queries, methods and headers that lead nowhere, and ids of what is somebody else's or not there. */
import type { SeededRandom } from '#base'
import { type HostileRequest, type Kind, type Target, VERSION } from './request.ts'

const FOREIGN = '/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590'
const SEGMENTS = [
  '..',
  '.',
  '%2e%2e',
  '%2E.',
  '..%2f..%2f',
  'a%2fb',
  '%5c',
  '..%5c',
  '%00',
  'd1%00',
  '%0a',
  '%0d%0aset-cookie:%20x',
  '%c0%ae%c0%ae',
  '%',
  '%zz',
  '%ff',
  '%ed%a0%80',
  '%F0%9F%98%80',
  '%E2%80%AE',
  '\u0080',
  '~',
  '*',
  'a;b=c',
  '%3Cscript%3E',
  '%27%20or%201=1',
  'x'.repeat(300),
  'x'.repeat(5000),
  'x:y',
  'x:99999999',
  '[::1',
  '@',
]
const BODIES: Readonly<Record<string, unknown>> = {
  'Microsoft.Compute/disks': {
    location: 'eastus',
    properties: { diskSizeGB: 1, creationData: { createOption: 'Empty' } },
  },
  'Microsoft.Authorization/locks': { properties: { level: 'ReadOnly' } },
  'Microsoft.Resources/deployments': { properties: { mode: 'Incremental', template: { resources: [] } } },
}

const existing = ({ group, disk, snapshot, account, lock, deployment, vault }: Target): readonly string[] => [
  group,
  disk,
  snapshot,
  account,
  lock,
  deployment,
  vault,
  `${vault}/backupPolicies/DefaultPolicy`,
  `${vault}/backupconfig/vaultconfig`,
  `${group}/providers/Microsoft.Compute/disks`,
  `${deployment}/operations`,
  `${group}/providers/Microsoft.Authorization/roleAssignments`,
]

function get(kind: string, path: string, method = 'GET'): HostileRequest {
  return { kind, method, path, shape: 'arm' }
}

/** A segment of a path that is there becomes one that no name may be. */
export const trickSegment: Kind = (random, target) => {
  const segments = random.pick(existing(target)).split('/').slice(1)
  const trick = random.pick(SEGMENTS)
  const at = random.below(segments.length)
  const path = `/${segments.with(at, trick).join('/')}?${VERSION}`
  // What is no HTTP is answered without knowing that nothing is to follow the head.
  const method = trick === '\u0080' ? 'GET' : random.pick(['GET', 'GET', 'HEAD'])
  return get(`segment ${trick.slice(0, 20)}`, path, method)
}

/** The same as names of what is to be made. */
export const trickName: Kind = (random, { group }) => {
  const [type, body] = random.pick(Object.entries(BODIES))
  const trick = random.pick(SEGMENTS)
  const path = `${group}/providers/${type}/${trick}?${VERSION}`
  return { kind: `name ${trick.slice(0, 20)}`, method: 'PUT', path, body: JSON.stringify(body), shape: 'arm' }
}

/** Slashes, hosts and files before and behind a good path. */
export const trickPath: Kind = (random, { disk, group }) => {
  const path = random.pick([
    `/..${disk}`,
    `/%2e%2e${disk}`,
    `//x:y/providers/Microsoft.Authorization/locks/l`,
    `//[/providers/Microsoft.Authorization/locks/l`,
    `///\\evil.example${disk}`,
    `${disk}/..`,
    `${disk}/../../../..`,
    `${group}/providers/Microsoft.Compute/disks/..;/snapshots/s1`,
    `${disk}%3f`,
    '/etc/passwd',
    '/../../../../etc/passwd',
    '/%2e%2e/%2e%2e/keys/administrator.secret',
    '/keys/administrator.secret',
    '/catalog.sqlite',
    '/providers',
    '/subscriptions/x',
    `/x${'/x'.repeat(random.below(2000))}`,
    `/${Buffer.from(random.bytes(8)).toString('hex')}`,
  ])
  return get('path', path === '/providers' ? '/providers/Nobody.Here?' + VERSION : `${path}?${VERSION}`)
}

/** In paths: what is of another subscription, of a group or of a type that is not there. */
export const foreignPath: Kind = (random, target) => {
  const { subscription } = target
  const path = random.pick(existing(target))
  const changed = random.pick([
    path.replace(subscription, FOREIGN),
    path.replace(/resourceGroups\/\w+/, 'resourceGroups/nobody'),
    path.replace('/Microsoft.', '/Nobody.').replace(/resourceGroups\/rg1$/, 'resourceGroups/nobody'),
    `${path}-not/there`,
  ])
  const method = random.pick(['GET', 'HEAD', 'PATCH', 'POST'])
  return { ...get('foreign path', `${changed}?${VERSION}`, method), ...(method === 'PATCH' && { body: '{}' }) }
}

const foreignIds = ({ subscription, group, disk, lock, account }: Target): readonly string[] => [
  disk.replace(subscription, FOREIGN),
  disk.replace(group, `${subscription}/resourceGroups/nobody`),
  `${disk}x`,
  `${disk}/..`,
  `${disk}/../../disks/d1`,
  `..${disk}`,
  disk.replaceAll('/', '\\'),
  disk.replaceAll('/', '%2f'),
  `https://evil.example${disk}`,
  lock,
  account,
  group,
  subscription,
  '/',
  '//',
  `${disk}?x=y`,
  `${disk}\u0000`,
  disk.repeat(30),
]

/** In bodies. */
export const foreignId: Kind = (random, target) => {
  const { group, account, subscription } = target
  const id = random.pick(foreignIds(target))
  const name = `new${random.below(1_000_000).toString(36)}`
  const compute = `${group}/providers/Microsoft.Compute`
  const copied = { createOption: 'Copy', sourceResourceId: id }
  const blobOf = (path: string) => ({
    createOption: 'Import',
    sourceUri: `file:///etc${path}`,
    storageAccountId: account,
  })
  const [method, path, body] = random.pick<readonly [string, string, unknown]>([
    ['PUT', `${compute}/disks/${name}`, { location: 'eastus', properties: { creationData: copied } }],
    ['PUT', `${compute}/snapshots/${name}`, { location: 'eastus', properties: { creationData: copied } }],
    ['PUT', `${compute}/disks/${name}`, { location: 'eastus', properties: { creationData: { ...copied, createOption: 'Restore' } } }],
    ['PUT', `${compute}/disks/${name}`, { location: 'eastus', properties: { creationData: { ...blobOf('/x'), sourceUri: 'ftp://x/y' } } }],
    ['PUT', `${compute}/disks/${name}`, { location: 'eastus', properties: { diskAccessId: id, diskSizeGB: 1, creationData: { createOption: 'Empty' } } }],
    ['PUT', `${compute}/disks/${name}`, { location: 'eastus', properties: { encryption: { diskEncryptionSetId: id }, diskSizeGB: 1, creationData: { createOption: 'Empty' } } }],
    ['PUT', `${compute}/disks/${name}`, { location: 'eastus', properties: { creationData: { createOption: 'FromImage', imageReference: { id } } } }],
    ['POST', `${group}/providers/Holdfast.Protection/consistencyGroups/${name}/createSnapshots`, { disks: [id] }],
    ['POST', `${group}/providers/Holdfast.Protection/consistencyGroups/${name}/createSnapshots`, { machines: [id] }],
    ['PUT', `${group}/providers/Microsoft.Authorization/roleAssignments/${guid(random)}`, { properties: { roleDefinitionId: id, principalId: target.principal } }],
    ['PUT', `${group}/providers/Microsoft.Authorization/roleAssignments/${guid(random)}`, { properties: { roleDefinitionId: `${subscription}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7`, principalId: id } }],
    ['PUT', `${FOREIGN}/providers/Microsoft.Authorization/roleAssignments/${guid(random)}`, { properties: { roleDefinitionId: 'acdd72a7-3385-48ef-bd42-f606fba81ae7', principalId: target.principal } }],
    ['PUT', `${subscription}/resourceGroups/nobody/providers/Microsoft.Authorization/locks/${name}`, { properties: { level: 'ReadOnly' } }],
  ]) // prettier-ignore
  return { kind: `id ${id.slice(0, 40)}`, method, path: `${path}?${VERSION}`, body: JSON.stringify(body), shape: 'arm' }
}

function guid(random: SeededRandom): string {
  const hex = Buffer.from(random.bytes(16)).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

export const badQuery: Kind = (random, target) => {
  const { subscription, group, disk } = target
  const [path, query] = random.pick<readonly [string, string]>([
    [disk, ''],
    [disk, 'api-version='],
    [disk, 'api-version=latest'],
    [disk, 'api-version=2024-1-1'],
    [disk, `api-version=${'9'.repeat(3000)}`],
    [`${subscription}/resources`, `${VERSION}&$filter=name%20like%20'x'`],
    [`${subscription}/resources`, `${VERSION}&$filter=('`],
    [`${subscription}/resources`, `${VERSION}&$filter=secret%20eq%20'x'`],
    [`${subscription}/resources`, `${VERSION}&$filter=${'(' .repeat(3000)}`],
    [`${subscription}/resources`, `${VERSION}&$filter=name%20eq%20'${'x'.repeat(4100)}`],
    [`${subscription}/resourcegroups`, `${VERSION}&$filter=%ff%00`],
    [`${group}/providers/Microsoft.Authorization/roleAssignments`, `${VERSION}&$filter=x()`],
    [`${subscription}/providers/Microsoft.Insights/eventtypes/management/values`, `${VERSION}&$filter=eventTimestamp%20ge%20'never'%20or`],
  ]) // prettier-ignore
  return get(`query ${query.slice(0, 40)}`, `${path}?${query}`)
}

export const wrongMethod: Kind = (random, { disk, snapshot, group, subscription }) => {
  const [method, path] = random.pick<readonly [string, string]>([
    ['POST', disk],
    ['POST', snapshot],
    ['POST', group],
    ['DELETE', subscription],
    ['PUT', subscription],
    ['PATCH', `${group}/providers/Microsoft.Compute/disks`],
    ['DELETE', `${group}/providers/Microsoft.Compute/disks`],
    ['GET', `${disk}/beginGetAccess`],
    ['OPTIONS', disk],
    ['TRACE', disk],
    ['PROPFIND', disk],
    ['MKCOL', group],
    ['REPORT', '/'],
  ])
  return get(`method ${method}`, `${path}?${VERSION}`, method)
}

/** Headers that are wrong on a request that would be done without them. */
export const badHeader: Kind = (random, { disk, snapshot }) => {
  const patch = {
    method: 'PATCH',
    path: `${disk}?${VERSION}`,
    body: '{"tags":{"hostile":"yes"}}',
    shape: 'arm' as const,
  }
  return random.pick<HostileRequest>([
    { ...patch, kind: 'if-match', headers: { 'if-match': 'W/"no"' } },
    { ...patch, kind: 'if-match junk', headers: { 'if-match': '"\u0080\u00ff' } },
    { ...patch, kind: 'if-none-match', headers: { 'if-none-match': '*' } },
    { ...patch, kind: 'host', headers: { host: 'evil.example' } },
    { ...patch, kind: 'host junk', headers: { host: 'a b/../c' } },
    { ...patch, kind: 'header too long', headers: { 'x-long': 'x'.repeat(20_000) } },
    { ...patch, kind: 'encoding', body: random.bytes(40), headers: { 'content-encoding': 'gzip' } },
    { ...patch, kind: 'version', path: disk, headers: { 'x-ms-version': '2024-11-01' } },
    { kind: 'delete', method: 'DELETE', path: `${snapshot}?${VERSION}`, headers: { 'if-match': 'W/"no"' }, shape: 'arm' },
  ]) // prettier-ignore
}
