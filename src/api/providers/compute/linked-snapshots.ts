/**
 * Snapshots that are copied from one linked server to another. The server that makes the copy asks the source's, in the caller's
 * name, for a URL to its bytes:
 *
 *   POST .../snapshots/{name}/beginLinkedRead  → {url, location, state, incremental, diskId, timeCreated, properties}
 *
 * Only linked servers may ask. The URL holds for a week and as long as the link does; unlike an access that a user is granted it
 * takes nobody else's away.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { findResource } from '#catalog'
import { ARM_ERROR_CODES, ArmError, type ResourceId } from '#contract'
import { type SnapshotBacking, whyNotCopy } from '#domain'
import { COPY_LINKED_SNAPSHOT_JOB, type CopyLinkedSnapshotInput, propertiesOf, SNAPSHOT_TYPE } from '#jobs'
import { replaceFile } from '#runtime'
import { type ArmCall, type ArmReply, type ArmRoute, ok, targetOf } from '../../arm/call.ts'
import { pathOf } from '../../arm/inside.ts'
import type { LinkedServer } from '../../arm/linked-servers.ts'
import { linkedReadUrl } from '../../blob/access-url.ts'
import { refused, type SnapshotRequest } from './snapshot-request.ts'

const READ_MS = 7 * 24 * 3_600_000
const SOURCE = 'properties.creationData.sourceResourceId'
const VERSION = '2024-11-01'

type Fields = Readonly<Record<string, unknown>>

/** What the source's server says of it. */
type LinkedSnapshot = Readonly<{
  url: string
  location: string
  state: string
  incremental: boolean
  diskId: string
  timeCreated: string
  properties: Fields
}>

async function beginLinkedRead(call: ArmCall): Promise<ArmReply> {
  const { host, caller } = call
  if (caller.link === undefined)
    throw new ArmError('NotSupported', 'Linked servers ask this of each other; use beginGetAccess.')
  const record = await findResource(host.catalog, targetOf(call))
  const { version } = (record?.backing ?? {}) as SnapshotBacking
  if (record === undefined || version === undefined)
    throw new ArmError(
      'ResourceNotFound',
      `The snapshot '${targetOf(call)}' is not there, or has no bytes of its own yet.`,
      {
        target: SOURCE,
      },
    )
  const { networkAccessPolicy, publicNetworkAccess, incremental, timeCreated, ...more } = propertiesOf(record)
  if (networkAccessPolicy === 'DenyAll' || publicNetworkAccess === 'Disabled')
    throw new ArmError('OperationNotAllowed', `The network policy of '${record.name}' allows no access from elsewhere.`)
  const expiresMs = host.clock.nowMs() + READ_MS
  const { osType, hyperVGeneration, diskSizeGB, diskSizeBytes } = more
  const found: LinkedSnapshot = {
    url: linkedReadUrl({ host, bytesUrl: await host.links.endpoint() }, record, caller.link.subscription, expiresMs),
    location: record.location ?? '',
    state: record.state,
    incremental: incremental === true,
    diskId: version.disk,
    timeCreated: String(timeCreated),
    properties: { osType, hyperVGeneration, diskSizeGB, diskSizeBytes },
  }
  return ok(found)
}

/** The other server's refusal, as the caller's own. */
function refusalOf(body: unknown): ArmError {
  const { code, message } = ((body as Fields | undefined)?.['error'] ?? {}) as Fields
  const known = ARM_ERROR_CODES.find((one) => one === code) ?? 'OperationNotAllowed'
  return new ArmError(known, `The server of the source says: ${String(message)}`, { target: SOURCE })
}

function isSnapshot(value: unknown, { endpoint }: LinkedServer): value is LinkedSnapshot {
  const { url, location, state, incremental, diskId, timeCreated, properties } = (value ?? {}) as Fields
  const texts = [url, location, state, diskId, timeCreated]
  if (!texts.every((text) => typeof text === 'string' && text !== '' && text.length < 4096)) return false
  const isThere = URL.parse(String(url))?.origin === endpoint
  return (
    isThere &&
    /^[\w-]{1,64}$/.test(String(diskId)) &&
    typeof incremental === 'boolean' &&
    typeof properties === 'object'
  )
}

async function askFor(call: ArmCall, owner: LinkedServer, source: ResourceId): Promise<LinkedSnapshot> {
  const { host, caller, correlationId, signal } = call
  const target = `${pathOf(source.text)}/beginLinkedRead?api-version=${VERSION}`
  const request = { method: 'POST', target, baseUrl: owner.endpoint, correlationId, signal }
  const { status, body } = await host.links.ask(owner, caller, request)
  if (status !== 200) throw refusalOf(body)
  if (isSnapshot(body, owner)) return body
  throw new ArmError('Conflict', 'What the server of the source says of it is not whole.', { target: SOURCE })
}

/** The same for the same copy, so that the same request is the same. */
async function keepPath(call: ArmCall, source: ResourceId, url: URL): Promise<string> {
  const name = createHash('sha256').update(`${call.id.toLowerCase()}\n${source.key}`).digest('hex').slice(0, 32)
  const path = join(call.host.disks.keysFolder, `linked-${name}.path`)
  await replaceFile(path, [new TextEncoder().encode(`${url.pathname}${url.search}\n`)])
  return path
}

/** What is to be done for a copy of a linked server's snapshot. @throws ArmError */
export async function ofLinkedSnapshot(
  call: ArmCall,
  request: SnapshotRequest,
  source: ResourceId,
  owner: LinkedServer,
): Promise<
  Readonly<{
    job: string
    input: CopyLinkedSnapshotInput
    diskId: string
    source: Readonly<{ id: string; body: Fields }>
  }>
> {
  if (source.type?.toLowerCase() !== SNAPSHOT_TYPE.toLowerCase())
    throw new ArmError(
      'InvalidResourceReference',
      `Of a linked server's resources a snapshot can be copied, not '${source.text}'.`,
      {
        target: SOURCE,
      },
    )
  const { url, location, state, incremental, diskId, timeCreated, properties } = await askFor(call, owner, source)
  const isIncremental = request.isIncremental === true
  const refusal = whyNotCopy(
    { location, isIncremental: incremental, state },
    { location: request.location, isIncremental, createOption: request.createOption ?? 'Copy' },
  )
  if (refusal !== undefined) throw refused(refusal)
  const pathFile = await keepPath(call, source, new URL(url))
  const input = {
    id: call.id,
    region: request.location,
    incremental: isIncremental,
    diskId,
    owner: owner.subscription,
    pathFile,
    timeCreated,
  }
  return { job: COPY_LINKED_SNAPSHOT_JOB, input, diskId, source: { id: source.text, body: { properties } } }
}

export const linkedSnapshotRoutes: readonly ArmRoute[] = [
  {
    method: 'POST',
    path: `/subscriptions/{subscription}/resourceGroups/{group}/providers/${SNAPSHOT_TYPE}/{name}/beginLinkedRead`,
    action: `${SNAPSHOT_TYPE}/beginGetAccess/action`,
    handle: beginLinkedRead,
  },
]
