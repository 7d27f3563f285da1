/** Machines that Holdfast has seen, and which of them it protects. */
import type { Catalog } from './catalog.ts'
import type { MachineTable } from './schema.ts'

export type KnownMachine = Readonly<{
  /** SMBIOS UUID. */
  id: string
  name: string
  driver: string
  location: string
  protected: boolean
  /** As it was seen last; the hypervisor's MachineDescription as plain JSON. */
  description: unknown
  seenMs: number
}>

function read(row: MachineTable): KnownMachine {
  return {
    id: row.id,
    name: row.name,
    driver: row.driver,
    location: row.location,
    protected: row.protected === 1,
    description: row.description === null ? null : (JSON.parse(row.description) as unknown),
    seenMs: row.seen_ms,
  }
}

/** Records what was seen of a machine; whether it is protected stays as it was (a new one is not). */
export async function recordMachineSeen(catalog: Catalog, machine: Omit<KnownMachine, 'protected'>): Promise<void> {
  const row = {
    name: machine.name,
    driver: machine.driver,
    location: machine.location,
    description: machine.description === null ? null : JSON.stringify(machine.description),
    seen_ms: machine.seenMs,
  }
  await catalog.write((trx) =>
    trx
      .insertInto('machine')
      .values({ id: machine.id, protected: 0, ...row })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
      .execute(),
  )
}

/** Whether there was such a machine. */
export async function setMachineProtected(catalog: Catalog, id: string, isProtected: boolean): Promise<boolean> {
  const result = await catalog.write((trx) =>
    trx
      .updateTable('machine')
      .set({ protected: isProtected ? 1 : 0 })
      .where('id', '=', id)
      .executeTakeFirst(),
  )
  return result.numUpdatedRows > 0n
}

export async function findMachine(catalog: Catalog, id: string): Promise<KnownMachine | undefined> {
  const row = await catalog.db.selectFrom('machine').selectAll().where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** All machines by name, or only the protected ones. */
export async function listMachines(catalog: Catalog, onlyProtected = false): Promise<KnownMachine[]> {
  const all = catalog.db.selectFrom('machine').selectAll().orderBy('name').orderBy('id')
  const rows = await (onlyProtected ? all.where('protected', '=', 1) : all).execute()
  return rows.map(read)
}
