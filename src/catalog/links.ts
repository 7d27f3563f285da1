/**
 * Links to the servers of other regions, each known by its subscription, and the invitations by which one is made. Of an
 * invitation only the digest of its secret is kept; it stays after its use until it ends, so that the same server may come
 * with it again when the answer to its first coming was lost.
 */
import type { Catalog, CatalogTransaction } from './catalog.ts'
import type { LinkInvitationTable, LinkTable } from './schema.ts'

export type LinkedRegion = Readonly<{ name: string; displayName: string; pair: string | undefined; geography: string }>

export type Link = Readonly<{
  /** Of the other server, in lower case. */
  subscription: string
  /** `https://host:port`, without a slash at its end. */
  endpoint: string
  /** PEM of the authority that the other's certificate is checked against. */
  authority: string
  /** JSON Web Key by which its messages are checked. */
  publicKey: string
  /** GUID of the role that its principals have here at most. */
  role: string
  /** GUID of the role that ours have there at most; undefined until it has said so. */
  granted: string | undefined
  regions: readonly LinkedRegion[]
  /** `joining`: asked for here, the other's answer is not on record yet. */
  state: 'joining' | 'linked'
  createdMs: number
  /** When it last answered or asked. */
  seenMs: number | undefined
}>

export type LinkInvitation = Readonly<{
  verifier: string
  role: string
  createdMs: number
  expiresMs: number
  usedBy: string | undefined
}>

type Reader = Pick<CatalogTransaction, 'selectFrom'>
const readerOf = (from: Catalog | CatalogTransaction): Reader => ('db' in from ? from.db : from)

function read(row: LinkTable): Link {
  const { subscription, endpoint, authority, role, state } = row
  return {
    subscription,
    endpoint,
    authority,
    publicKey: row.public_key,
    role,
    granted: row.granted ?? undefined,
    regions: JSON.parse(row.regions) as LinkedRegion[],
    state,
    createdMs: row.created_ms,
    seenMs: row.seen_ms ?? undefined,
  }
}

/** In the order in which they were made. */
export async function listLinks(from: Catalog | CatalogTransaction): Promise<Link[]> {
  const rows = await readerOf(from)
    .selectFrom('link')
    .selectAll()
    .orderBy('created_ms')
    .orderBy('subscription')
    .execute()
  return rows.map(read)
}

export async function findLink(from: Catalog | CatalogTransaction, subscription: string): Promise<Link | undefined> {
  const key = subscription.toLowerCase()
  const row = await readerOf(from).selectFrom('link').selectAll().where('subscription', '=', key).executeTakeFirst()
  return row === undefined ? undefined : read(row)
}

/** Adds the link, or replaces everything of it but when it was made. */
export async function putLink(trx: CatalogTransaction, link: Link): Promise<void> {
  const row: LinkTable = {
    subscription: link.subscription.toLowerCase(),
    endpoint: link.endpoint,
    authority: link.authority,
    public_key: link.publicKey,
    role: link.role,
    granted: link.granted ?? null,
    regions: JSON.stringify(link.regions),
    state: link.state,
    created_ms: link.createdMs,
    seen_ms: link.seenMs ?? null,
  }
  const { created_ms: _created, ...changed } = row
  await trx
    .insertInto('link')
    .values(row)
    .onConflict((conflict) => conflict.column('subscription').doUpdateSet(changed))
    .execute()
}

export async function markLinkSeen(trx: CatalogTransaction, subscription: string, seenMs: number): Promise<void> {
  await trx.updateTable('link').set({ seen_ms: seenMs }).where('subscription', '=', subscription).execute()
}

export async function deleteLink(trx: CatalogTransaction, subscription: string): Promise<void> {
  await trx.deleteFrom('link').where('subscription', '=', subscription.toLowerCase()).execute()
}

/** Forgets those that have ended, too. */
export async function insertInvitation(trx: CatalogTransaction, invitation: LinkInvitation): Promise<void> {
  const { verifier, role, createdMs, expiresMs } = invitation
  await trx.deleteFrom('link_invitation').where('expires_ms', '<=', createdMs).execute()
  await trx
    .insertInto('link_invitation')
    .values({ verifier, role, created_ms: createdMs, expires_ms: expiresMs, used_by: null })
    .execute()
}

export async function findInvitation(trx: CatalogTransaction, verifier: string): Promise<LinkInvitation | undefined> {
  const row: LinkInvitationTable | undefined = await trx
    .selectFrom('link_invitation')
    .selectAll()
    .where('verifier', '=', verifier)
    .executeTakeFirst()
  if (row === undefined) return undefined
  const { role, created_ms, expires_ms, used_by } = row
  return { verifier, role, createdMs: created_ms, expiresMs: expires_ms, usedBy: used_by ?? undefined }
}

export async function useInvitation(trx: CatalogTransaction, verifier: string, subscription: string): Promise<void> {
  await trx.updateTable('link_invitation').set({ used_by: subscription }).where('verifier', '=', verifier).execute()
}
