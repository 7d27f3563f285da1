/** Describes the machine well enough to judge the figures, and not so well that it names it. */
import { readFile, statfs } from 'node:fs/promises'
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { GIB } from '#base'

export type Machine = Readonly<{
  cores: number
  cpu: string
  memoryGib: number
  kernel: string
  system: string
  node: string
  hypervisor: boolean
  freeDiskGib: number
  loadAtStart: number
}>

export async function describeMachine(folder: string): Promise<Machine> {
  const [osRelease, cpuinfo, loadavg] = await Promise.all(
    ['/etc/os-release', '/proc/cpuinfo', '/proc/loadavg'].map((path) => readFile(path, 'utf8')),
  )
  const space = await statfs(folder)
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    memoryGib: Math.round(totalmem() / GIB),
    kernel: release(),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease ?? '')?.[1] ?? 'unknown',
    node: process.version,
    hypervisor: /^flags.*\bhypervisor\b/m.test(cpuinfo ?? ''),
    freeDiskGib: Math.round((space.bavail * space.bsize) / GIB),
    loadAtStart: Number((loadavg ?? '0').split(' ')[0]),
  }
}

/** Groups machines that may be compared: "2-core-23gib-vm". */
export function hostClass(machine: Machine): string {
  return `${machine.cores}-core-${machine.memoryGib}gib${machine.hypervisor ? '-vm' : ''}`
}
