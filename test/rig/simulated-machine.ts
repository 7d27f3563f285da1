/** A machine that never runs: records of it and of its disks over raw images, as an adopted one whose QEMU has ended leaves them. */
import { join } from 'node:path'
import { randomUuid } from '#base'
import { type Catalog, insertResource } from '#catalog'
import { DISK_TYPE, MACHINE_TYPE } from '#jobs'
import { systemClock, systemRandom } from '#runtime'

export type SimulatedDisk = Readonly<{ file: string; sizeBytes: number; uniqueId?: string }>
export type SimulatedMachine = Readonly<{
  /** Id of the resource group. */
  group: string
  subscription: string
  name: string
  /** The first is the operating system's. */
  disks: readonly SimulatedDisk[]
  location?: string
}>

const source = { nowMs: () => systemClock.nowMs(), newEtag: () => `W/"${randomUuid(systemRandom)}"` }

/** Ids of the disks' contents, in their order. */
export async function insertSimulatedMachines(
  catalog: Catalog,
  machines: readonly SimulatedMachine[],
): Promise<readonly (readonly string[])[]> {
  return catalog.write(async (trx) => {
    const all: string[][] = []
    for (const { group, subscription, name, disks, location = 'eastus' } of machines) {
      const shared = { subscription, group, location, tags: {}, state: 'Succeeded' }
      const compute = `${group}/providers/Microsoft.Compute`
      const id = `${compute}/virtualMachines/${name}`
      const rows = disks.map(({ file, sizeBytes, uniqueId = randomUuid(systemRandom) }, i) => ({
        ...shared,
        id: `${compute}/disks/${name}-${i}`,
        type: DISK_TYPE,
        name: `${name}-${i}`,
        body: {
          managedBy: id,
          properties: { diskState: 'Reserved', uniqueId, diskSizeBytes: sizeBytes, diskSizeGB: 1 },
        },
        backing: { file, format: 'raw' },
      }))
      for (const row of rows) await insertResource(trx, row, source)
      const [os, ...data] = rows.map((row, i) => ({ lun: i - 1, managedDisk: { id: row.id } }))
      const uuid = randomUuid(systemRandom)
      const properties = { vmId: uuid, storageProfile: { osDisk: os, dataDisks: data } }
      const backing = { adopted: true, qmp: join('/nonexistent', name), uuid }
      await insertResource(trx, { ...shared, id, type: MACHINE_TYPE, name, body: { properties }, backing }, source)
      all.push(rows.map(({ body }) => body.properties.uniqueId))
    }
    return all
  })
}
