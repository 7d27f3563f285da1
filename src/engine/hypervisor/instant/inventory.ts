/**
 * What disks a running QEMU has, and in what state: which device reads which node, its image, size and bitmaps.
 * `readInventory` asks; the rest is pure over the answers (query-block, query-named-block-nodes, query-block-jobs).
 */
import { HypervisorError } from '../errors.ts'
import type { QmpClient } from '../qmp/client.ts'
import { asCount, asList, asObject, asText, isObject, type JsonObject, textOr } from '../qmp/shape.ts'
import type { BitmapState } from './tracking.ts'

export type DriveState = Readonly<{
  /** Path of the device in QEMU's object tree, whose `drive` property names the node it reads. */
  qomPath: string
  /** The node that the device reads now. */
  topNode: string
  /** The node of the image's format: where bitmaps live. The same as `topNode` unless a filter sits between. */
  formatNode: string
  /** The drivers of filters between the two that Holdfast does not know; not empty means: keep off. */
  foreignFilter: string | undefined
  /** Driver of the format node: qcow2, raw, ... */
  format: string
  filename: string
  sizeBytes: number
  readOnly: boolean
  keepsBitmaps: boolean
  bitmaps: readonly BitmapState[]
}>

export type Inventory = Readonly<{
  running: boolean
  status: string
  drives: readonly DriveState[]
  nodeNames: readonly string[]
  /** Block jobs: their id, type and, where QEMU tells it, the device or node that they work on. */
  jobs: readonly Readonly<{ id: string; type: string; node: string }>[]
  /** Some device may do its I/O in a thread of its own (-object iothread). */
  hasIoThreads: boolean
}>

/** Filters that QEMU or a throttle group puts on a disk and that pass reads and writes through unchanged. */
const KNOWN_FILTERS = new Set(['copy-on-read', 'throttle'])

/** Lists every named node, flat: without it each answer repeats the whole chain below (QEMU 5.0). */
export async function queryNodes(qmp: QmpClient): Promise<JsonObject[]> {
  const nodes = asList(await qmp.execute('query-named-block-nodes', { flat: true }), 'the block nodes')
  return nodes.map((node) => asObject(node, 'a block node'))
}

export async function queryDrives(qmp: QmpClient): Promise<JsonObject[]> {
  return asList(await qmp.execute('query-block'), 'the drives').map((drive) => asObject(drive, 'a drive'))
}

export async function queryStatus(qmp: QmpClient): Promise<string> {
  return asText(asObject(await qmp.execute('query-status'), 'the status')['status'], 'the status')
}

/** QEMU names a device by its id where it has one, else by its path (BlockInfo.qdev). */
export function qomPathOf(qdev: string): string {
  return qdev.startsWith('/') ? qdev : `/machine/peripheral/${qdev}`
}

export function bitmapsOf(node: JsonObject): BitmapState[] {
  const list = Array.isArray(node['dirty-bitmaps']) ? node['dirty-bitmaps'].filter(isObject) : []
  // Bitmaps without a name belong to jobs and filters.
  return list
    .filter((bitmap) => typeof bitmap['name'] === 'string')
    .map((bitmap) => ({
      name: textOr(bitmap['name'], ''),
      recording: bitmap['recording'] === true,
      busy: bitmap['busy'] === true,
      inconsistent: bitmap['inconsistent'] === true,
      persistent: bitmap['persistent'] === true,
      granularityBytes: asCount(bitmap['granularity'], 'the granularity of a bitmap'),
    }))
}

/** Version 2 of qcow2 ("compat 0.10") has no bitmap extension (docs/interop/qcow2.txt). */
function keepsBitmaps(node: JsonObject): boolean {
  const image = asObject(node['image'], 'the image of a node')
  const specific = isObject(image['format-specific']) ? image['format-specific'] : {}
  const data = isObject(specific['data']) ? specific['data'] : {}
  return node['drv'] === 'qcow2' && data['compat'] !== '0.10' && node['ro'] !== true
}

function formatNodeUnder(top: JsonObject, nodes: readonly JsonObject[]): JsonObject {
  if (!KNOWN_FILTERS.has(textOr(top['drv'], ''))) return top
  const below = nodes.find((node) => {
    const drv = textOr(node['drv'], '')
    return node['file'] === top['file'] && (drv === 'qcow2' || drv === 'raw')
  })
  return below ?? top
}

const FORMATS = new Set([
  'qcow2',
  'raw',
  'qed',
  'vmdk',
  'vdi',
  'vpc',
  'vhdx',
  'luks',
  'file',
  'host_device',
  'nbd',
  'rbd',
])

function driveOf(drive: JsonObject, nodes: readonly JsonObject[]): DriveState | undefined {
  const inserted = drive['inserted']
  if (!isObject(inserted) || typeof drive['qdev'] !== 'string') return undefined
  const topNode = asText(inserted['node-name'], 'the node of a drive')
  const top = nodes.find((node) => node['node-name'] === topNode)
  if (top === undefined) return undefined
  const format = formatNodeUnder(top, nodes)
  const driver = asText(format['drv'], 'the driver of a node')
  return {
    qomPath: qomPathOf(drive['qdev']),
    topNode,
    formatNode: asText(format['node-name'], 'the name of a node'),
    foreignFilter: FORMATS.has(driver) ? undefined : driver,
    format: driver,
    filename: textOr(format['file'], ''),
    sizeBytes: asCount(asObject(format['image'], 'the image of a node')['virtual-size'], 'the size of a disk'),
    readOnly: format['ro'] === true,
    keepsBitmaps: keepsBitmaps(format),
    bitmaps: bitmapsOf(format),
  }
}

/** @throws `qmp_protocol_violation` when the answers do not have the documented shape. */
export async function readInventory(qmp: QmpClient): Promise<Inventory> {
  const [status, drives, nodes, jobs, ioThreads] = await Promise.all([
    queryStatus(qmp),
    queryDrives(qmp),
    queryNodes(qmp),
    qmp.execute('query-block-jobs'),
    qmp.execute('query-iothreads'),
  ])
  return {
    running: status === 'running',
    status,
    drives: drives.flatMap((drive) => driveOf(drive, nodes) ?? []),
    nodeNames: nodes.map((node) => textOr(node['node-name'], '')),
    hasIoThreads: asList(ioThreads, 'the I/O threads').length > 0,
    jobs: asList(jobs, 'the block jobs')
      .map((job) => asObject(job, 'a block job'))
      .map((job) => ({
        id: textOr(job['device'], ''),
        type: textOr(job['type'], ''),
        node: textOr(job['node-name'], ''),
      })),
  }
}

/** The drive whose image is at `path` (already resolved), or whose node has this name. */
export function findDrive(
  inventory: Inventory,
  disk: Readonly<{ path: string; nodeName?: string | undefined }>,
): DriveState {
  const found = inventory.drives.find(
    (drive) =>
      (disk.nodeName !== undefined && (drive.formatNode === disk.nodeName || drive.topNode === disk.nodeName)) ||
      drive.filename === disk.path,
  )
  if (found !== undefined) return found
  throw new HypervisorError('disk_unsupported', 'QEMU has no drive for a disk of the machine.', {
    facts: { path: disk.path, nodeName: disk.nodeName, drives: inventory.drives.map((drive) => drive.filename) },
    hint: 'The disk was detached, or QEMU was started with another path.',
  })
}
