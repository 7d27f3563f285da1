/**
 * Hydration: moving what a machine's overlay still reads from its backing into the overlay, while the guest runs.
 *
 * QEMU's block-stream does it. The job lives in QEMU: it goes on when we die, waits when the server below is away, and
 * resumes nothing when QEMU itself dies, since what was moved is in the overlay: a new job moves the rest. When a disk is
 * done its overlay has no backing any more, in the image's header too, so "done" is read from QEMU and not from our notes.
 *
 * QEMU writes that header at once, and what was moved when somebody flushes: killed in between, it would leave a disk that has
 * neither. So the job is not let finish by itself: all data moved, the disk is flushed, and only then the header is written. (Seen
 * here as zeros after kill -9; QEMU 7.2, block/stream.c, stream_prepare.)
 * Reference: QEMU docs/interop/live-block-operations.rst, "Live block streaming".
 */
import { type Clock, isHoldfastError } from '#base'
import { HypervisorError } from '../errors.ts'
import { QmpClient } from '../qmp/client.ts'
import { isObject } from '../qmp/shape.ts'
import { diskNodeName } from './device-address.ts'

export type Hydration = Readonly<{
  lun: number
  /** waiting: it has a backing and no job moves it. */
  state: 'done' | 'running' | 'waiting'
  /** In bytes of the virtual disk, as QEMU counts: holes pass at once. */
  doneBytes: number
  totalBytes: number
}>

const jobId = (lun: number): string => `hydrate-${lun}`

function objects(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((item) => isObject(item)) : []
}

/** With `flat` QEMU gives a depth of 0 for every node, so the image's own header is asked as well. */
async function hasBacking(qmp: QmpClient, lun: number): Promise<boolean> {
  const nodes = objects(await qmp.execute('query-named-block-nodes'))
  const node = nodes.find((one) => one['node-name'] === diskNodeName(lun))
  if (node === undefined)
    throw new HypervisorError('machine_state_conflict', `The machine has no disk at LUN ${lun}.`, { facts: { lun } })
  const { image } = node
  return Number(node['backing_file_depth'] ?? 0) > 0 || (isObject(image) && image['backing-filename'] !== undefined)
}

/**
 * Where the disks stand, and, for those with a backing and no job, a job begun. Repeating it is how hydration resumes.
 * @param bytesPerSecondMax 0: as fast as it goes. @throws qmp_unreachable, qmp_command_failed
 */
export async function hydrate(
  controlSocket: string,
  luns: readonly number[],
  options: Readonly<{ clock: Clock; bytesPerSecondMax?: number }>,
): Promise<Hydration[]> {
  const qmp = await QmpClient.connect(controlSocket, { clock: options.clock })
  try {
    const states: Hydration[] = []
    for (const lun of luns) states.push(await hydrateDisk(qmp, lun, options.bytesPerSecondMax ?? 0))
    return states
  } finally {
    await qmp.close()
  }
}

/** What was moved is on the disk; then, and not before, the header says that nothing lies below it. */
async function finish(qmp: QmpClient, lun: number): Promise<void> {
  const said = await qmp.execute('human-monitor-command', { 'command-line': `qemu-io ${diskNodeName(lun)} flush` })
  if (typeof said === 'string' && said.trim() !== '')
    throw new HypervisorError('qmp_command_failed', `The disk at LUN ${lun} could not be flushed.`, {
      facts: { lun, said: said.trim() },
      retry: 'later',
    })
  await qmp.execute('job-finalize', { id: jobId(lun) })
}

async function hydrateDisk(qmp: QmpClient, lun: number, speed: number): Promise<Hydration> {
  const job = objects(await qmp.execute('query-block-jobs')).find((one) => one['device'] === jobId(lun))
  if (job?.['status'] === 'pending') {
    await finish(qmp, lun)
    return { lun, state: 'running', doneBytes: Number(job['offset']), totalBytes: Number(job['len']) }
  }
  if (job !== undefined)
    return { lun, state: 'running', doneBytes: Number(job['offset']), totalBytes: Number(job['len']) }
  if (!(await hasBacking(qmp, lun))) return { lun, state: 'done', doneBytes: 1, totalBytes: 1 }
  try {
    // on-error=stop would stop the job until told to go on; report ends it, and the next call begins a new one.
    const how = { speed, 'on-error': 'report', 'auto-finalize': false }
    await qmp.execute('block-stream', { 'job-id': jobId(lun), device: diskNodeName(lun), ...how })
  } catch (error) {
    // An open instant or a resize has the node: the next call tries again.
    if (!isHoldfastError(error, 'qmp_command_failed')) throw error
    return { lun, state: 'waiting', doneBytes: 0, totalBytes: 1 }
  }
  return { lun, state: 'running', doneBytes: 0, totalBytes: 1 }
}
