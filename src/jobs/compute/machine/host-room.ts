/**
 * Memory and processors of the host: what machines hold of them stands in their records, and whether there is room for one more
 * is decided in the transaction that takes it, so that two who ask at once never get the same.
 *
 * The settings `machine-memory-mib` and `machine-cpus` say what the host gives (src/server/config).
 */
import { type Catalog, type CatalogTransaction, findSetting } from '#catalog'
import { type HostRoom, type MachineSize, whyNoRoom } from '#domain'
import { listOwnMachines, sizeOfMachine } from './machine-records.ts'

export const ROOM_SETTINGS = { memoryMib: 'machine-memory-mib', cpus: 'machine-cpus' } as const

export async function hostRoom(from: Catalog | CatalogTransaction): Promise<HostRoom> {
  const [memoryMib, cpus] = await Promise.all([
    findSetting(from, ROOM_SETTINGS.memoryMib),
    findSetting(from, ROOM_SETTINGS.cpus),
  ])
  // Without a word about it the host gives what it has: whoever runs no server, such as a test, says nothing.
  return { memoryMib: Number(memoryMib ?? Number.MAX_SAFE_INTEGER), cpus: Number(cpus ?? Number.MAX_SAFE_INTEGER) }
}

/** What machines hold, but for the one that asks. */
export async function takenRoom(from: Catalog | CatalogTransaction, except: string): Promise<HostRoom[]> {
  const machines = await listOwnMachines(from)
  return machines
    .filter(({ record, own }) => own.allocated && record.key !== except.toLowerCase())
    .map(({ record }) => sizeOfMachine(record))
}

/** Why a machine of the size cannot be beside those that are; undefined when it can. */
export async function whyNotHere(trx: CatalogTransaction, id: string, size: MachineSize): Promise<string | undefined> {
  return whyNoRoom(await hostRoom(trx), await takenRoom(trx, id), size)
}
