/**
 * Looks at a catalog's file without changing it, whoever else has it open: for `doctor`, with or without a server.
 * Only from a process that does not have it open: closing this descriptor would drop that one's locks (catalog.ts).
 */
import { DatabaseSync } from 'node:sqlite'
import { messageOf } from '#base'
import { SCHEMA_NUMBER } from './migrations/list.ts'

export type CatalogInspection = Readonly<{
  schema: number
  schemaKnown: number
  /** Empty when it is whole. */
  findings: readonly string[]
  /** When the last change was written down; undefined when none was. */
  newestMs: number | undefined
  pools: readonly Readonly<{ region: string; name: string; path: string; host?: string; reserveBytes: number }>[]
  stores: readonly Readonly<{ region: string; name: string; location: string }>[]
  /** Vaults whose key was never handed out. */
  unexportedVaults: readonly string[]
}>

const FINDINGS_MAX = 20
/** The schema from which on there are regions. */
const REGIONS_SCHEMA = 3
/** The schema from which on there are hosts elsewhere. */
const HOSTS_SCHEMA = 4

/** The schema from which on there are vaults. */
const VAULTS_SCHEMA = 6
const UNEXPORTED = `select name from resource where type_key = 'microsoft.recoveryservices/vaults' and not exists
  (select 1 from setting where setting.name = 'vault-key-exported/' || json_extract(resource.backing, '$.uid')) order by name`

function textsOf(rows: readonly Record<string, unknown>[]): string[] {
  return rows.map((row) => String(Object.values(row)[0]))
}

function inspect(db: DatabaseSync): CatalogInspection {
  const schema = Number(Object.values(db.prepare('pragma user_version').get() ?? {})[0] ?? 0)
  const findings = textsOf(db.prepare(`pragma integrity_check(${FINDINGS_MAX})`).all()).filter((text) => text !== 'ok')
  const orphans = db.prepare('pragma foreign_key_check').all().length
  if (orphans > 0) findings.push(`${orphans} rows refer to missing ones`)
  const rows = (query: string): Record<string, unknown>[] => (schema < REGIONS_SCHEMA ? [] : db.prepare(query).all())
  const host = schema < HOSTS_SCHEMA ? 'null' : 'host'
  return {
    schema,
    schemaKnown: SCHEMA_NUMBER,
    findings,
    newestMs: rows('select max(at_ms) as at from activity').map(({ at }) => (at === null ? undefined : Number(at)))[0],
    pools: rows(`select region, name, path, ${host} as host, reserve_bytes from pool order by region, name`).map(
      (row) => ({
        region: String(row['region']),
        name: String(row['name']),
        path: String(row['path']),
        ...(typeof row['host'] === 'string' && { host: row['host'] }),
        reserveBytes: Number(row['reserve_bytes']),
      }),
    ),
    stores: rows('select region, name, location from store order by region, name').map((row) => ({
      region: String(row['region']),
      name: String(row['name']),
      location: String(row['location']),
    })),
    unexportedVaults: schema < VAULTS_SCHEMA ? [] : textsOf(rows(UNEXPORTED)),
  }
}

/** Never throws: a file that cannot be read is a finding. */
export function inspectCatalog(path: string): CatalogInspection {
  const nothing = {
    schema: 0,
    schemaKnown: SCHEMA_NUMBER,
    newestMs: undefined,
    pools: [],
    stores: [],
    unexportedVaults: [],
  }
  try {
    const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 })
    try {
      return inspect(db)
    } finally {
      db.close()
    }
  } catch (error) {
    return { ...nothing, findings: [messageOf(error)] }
  }
}
