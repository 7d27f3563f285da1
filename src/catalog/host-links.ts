/**
 * By what a host elsewhere is let in: a join token that holds until it is used or ends, then certificates. Neither is kept
 * itself, only what recognises it. Without a row here a host has no way in.
 */
import type { Catalog, CatalogTransaction } from './catalog.ts'

export type HostLink = Readonly<{
  region: string
  name: string
  join:
    | Readonly<{
        /** SHA-256 of the token's secret, hexadecimal. */
        hash: string
        expiresMs: number
        /** SHA-256 of the public key that it was used for, hexadecimal; undefined: not used yet. */
        usedFor: string | undefined
      }>
    | undefined
  /** SHA-256 of those that are let in, hexadecimal, the newest last. */
  certificates: readonly string[]
  seenMs: number | undefined
  /** What its worker said of itself. */
  facts: Readonly<Record<string, unknown>>
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

export async function putHostLink(trx: CatalogTransaction, link: HostLink): Promise<void> {
  const { region, name, join, certificates, seenMs, facts } = link
  const changed = {
    join_hash: join?.hash ?? null,
    join_expires_ms: join?.expiresMs ?? null,
    join_key: join?.usedFor ?? null,
    certificates: JSON.stringify(certificates),
    seen_ms: seenMs ?? null,
    facts: JSON.stringify(facts),
  }
  await trx
    .insertInto('host_link')
    .values({ region, name, ...changed })
    .onConflict((conflict) => conflict.columns(['region', 'name']).doUpdateSet(changed))
    .execute()
}

export async function listHostLinks(from: Catalog | CatalogTransaction): Promise<HostLink[]> {
  const rows = await readerOf(from).selectFrom('host_link').selectAll().orderBy('region').orderBy('name').execute()
  return rows.map((row) => ({
    region: row.region,
    name: row.name,
    join:
      row.join_hash === null
        ? undefined
        : { hash: row.join_hash, expiresMs: row.join_expires_ms ?? 0, usedFor: row.join_key ?? undefined },
    certificates: JSON.parse(row.certificates) as string[],
    seenMs: row.seen_ms ?? undefined,
    facts: JSON.parse(row.facts) as Record<string, unknown>,
  }))
}

export async function findHostLink(
  from: Catalog | CatalogTransaction,
  region: string,
  name: string,
): Promise<HostLink | undefined> {
  return (await listHostLinks(from)).find((link) => link.region === region && link.name === name)
}
