/** How disks are read at an instant: through the QEMU that has them, if it runs, else their images. One source a machine. */
import type { Clock } from '#base'
import type { ResourceRecord } from '#catalog'
import type { DiskBacking } from '#domain'
import type { ImageToTake, MachineToTake } from '#engine/transfer'
import { askPower } from './adopt-machine.ts'

export type DiskToRead = Readonly<{ record: Pick<ResourceRecord, 'name'>; uniqueId: string; backing: DiskBacking }>

function placeOf({ uniqueId, backing }: DiskToRead) {
  const { file, base } = backing
  return { diskId: uniqueId, path: file, ...(base !== undefined && { base: base.file }) }
}

export async function sourcesOf(
  clock: Clock,
  disks: readonly DiskToRead[],
): Promise<readonly (MachineToTake | ImageToTake)[]> {
  const sources: (MachineToTake | ImageToTake)[] = []
  const machines = Map.groupBy(disks, ({ backing }) => backing.machine?.qmp)
  for (const [qmp, own] of machines) {
    const runs = qmp !== undefined && (await askPower(clock, qmp)) !== 'stopped'
    const [first] = own
    if (!runs || first?.backing.machine === undefined) {
      for (const disk of own) {
        const { record, backing } = disk
        sources.push({ kind: 'image', name: record.name, format: backing.format, ...placeOf(disk) })
      }
      continue
    }
    const { name, agent } = first.backing.machine
    const sockets = { qmpSocketPath: qmp, ...(agent !== undefined && { agentSocketPath: agent }) }
    sources.push({ kind: 'machine', name, sockets, disks: own.map(placeOf) })
  }
  return sources
}
