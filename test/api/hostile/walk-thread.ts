/** The walk in a thread of its own, so that who asks and who answers do not share one. */
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { assert } from '#base'
import type { Target } from './request.ts'
import { KINDS, Walker, type WalkReport } from './walk.ts'

type Walk = Readonly<{ endpoint: string; ca: string; target: Target; seed: number; from: number; count: number }>

/** Requests of all kinds. */
export function walkInThread(walk: Walk): Promise<WalkReport> {
  const thread = new Worker(new URL(import.meta.url), { workerData: walk })
  return new Promise((resolve, reject) => {
    thread.once('message', (report: WalkReport) => resolve(report))
    thread.once('error', reject)
    thread.once('exit', (code) => reject(new Error(`The thread ended with ${code}`)))
  })
}

if (!isMainThread) {
  const { endpoint, ca, target, seed, from, count } = workerData as Walk
  const walker = new Walker(endpoint, ca, target)
  const report = await walker.walk(KINDS, seed, from, count)
  walker.close()
  assert(parentPort !== null, 'A thread has a parent')
  parentPort.postMessage(report, [])
}
