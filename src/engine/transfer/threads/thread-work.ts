/** The work of a worker thread: starts the runner that it was made for, then runs one task after the other. */
import { parentPort, workerData } from 'node:worker_threads'
import { must } from '#base'
import { processPace, yieldThisThread } from '#runtime'
import { describeFailure, type ThreadReply, type ThreadRequest } from './thread-protocol.ts'
import { startRunner, type TaskKind, type TaskKinds } from './task-runner.ts'

const port = must(parentPort, 'This file runs in a worker thread')
const { kind, init, pace } = workerData as {
  kind: TaskKind
  init: TaskKinds[TaskKind]['init']
  pace: SharedArrayBuffer
}
processPace.share(pace)

/**
 * A backup or a verify can wait; the guests of the host cannot, and compete for the same cores. A restore and a decode have
 * somebody waiting: a user, or a guest that boots.
 */
const YIELDING: ReadonlySet<TaskKind> = new Set(['backup', 'verify'])

function reply(message: ThreadReply): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread, not a window
  port.postMessage(message)
}

/** Tasks run in the order in which they came; a failed one does not stop the next, its sender decides. */
async function serve(): Promise<void> {
  if (YIELDING.has(kind)) yieldThisThread()
  const runner = await startRunner(kind, init as never)
  let last: Promise<void> = Promise.resolve()
  const take = async (request: ThreadRequest): Promise<void> => {
    try {
      const result = request.task === 'close' ? await runner.close() : await runner.run(request.task as never)
      reply({ id: request.id, ok: true, result })
    } catch (error) {
      reply({ id: request.id, ok: false, failure: describeFailure(error) })
    }
    if (request.task === 'close') port.close()
  }
  port.on('message', (request: ThreadRequest) => {
    if (request.task !== 'close') runner.foresee?.(request.task as never)
    last = last.then(() => take(request))
  })
  reply({ id: 0, ok: true, result: undefined })
}

serve().catch((error: unknown) => reply({ id: 0, ok: false, failure: describeFailure(error) }))
