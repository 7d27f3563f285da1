/** What a worker tells its server of the host that it runs on. What takes a while to learn is told once it is known. */
import { availableParallelism, hostname, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Clock, messageOf, PROGRAM_VERSION } from '#base'
import { chooseAccelerator } from '#engine/hypervisor'
import type { Home } from '../home.ts'

export type HostFacts = Readonly<Record<string, unknown>>

/** @param tasks names of what the worker can do */
export function hostFacts(home: Home, clock: Clock, tasks: Iterable<string>): () => HostFacts {
  let learned: HostFacts = {}
  chooseAccelerator('qemu-system-x86_64', join(home.folder, 'run'), clock).then(
    ({ accelerator, qemuVersion, note }) => {
      learned = { accelerator, qemu: qemuVersion, ...(note !== undefined && { note }) }
    },
    (error: unknown) => {
      learned = { note: messageOf(error) }
    },
  )
  const known = {
    version: PROGRAM_VERSION,
    hostname: hostname(),
    kernel: release(),
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    capabilities: [...tasks].sort(),
  }
  return () => ({ ...known, ...learned })
}
