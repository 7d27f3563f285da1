/**
 * ETags, in one place for all resources that are records: an answer that shows one carries its `ETag`; `If-Match` and
 * `If-None-Match` are heeded before the handler runs (RFC 9110, section 13; ARM RPC "ETags"). The dispatcher takes turns per
 * resource, so that nothing comes between this check and the change.
 */
import { findResource } from '#catalog'
import { ArmError, sameId } from '#contract'
import type { ArmCall, ArmReply } from './call.ts'

/** Weak and strong forms are the same: an etag names a version of the record, whatever it is shown as. */
function plain(etag: string): string {
  return etag.trim().replace(/^W\//i, '').replaceAll('"', '')
}

function names(header: string, etag: string): boolean {
  return header.trim() === '*' || header.split(',').some((one) => plain(one) === plain(etag))
}

/** @throws ArmError `PreconditionFailed` */
export async function checkPreconditions(call: ArmCall): Promise<void> {
  const [match, noneMatch] = [call.header('if-match'), call.header('if-none-match')]
  if (match === undefined && noneMatch === undefined) return
  const etag = (await findResource(call.host.catalog, call.id))?.etag
  if (match !== undefined && (etag === undefined || !names(match, etag)))
    throw new ArmError('PreconditionFailed', `'${call.id}' is not in the state that If-Match names: it was changed.`, {
      target: 'If-Match',
    })
  if (noneMatch !== undefined && etag !== undefined && names(noneMatch, etag))
    throw new ArmError('PreconditionFailed', `'${call.id}' exists already, which If-None-Match rules out.`, {
      target: 'If-None-Match',
    })
}

function showsItself(call: ArmCall, { status, body }: ArmReply): boolean {
  if (status !== 200 && status !== 201) return false
  const id = typeof body === 'object' && body !== null && 'id' in body ? body.id : undefined
  return typeof id === 'string' && sameId(id, call.id)
}

/** The reply with the etag of the resource that it shows; 304 when the client has that version. */
export async function withEtag(call: ArmCall, reply: ArmReply): Promise<ArmReply> {
  if (!showsItself(call, reply)) return reply
  const etag = (await findResource(call.host.catalog, call.id))?.etag
  if (etag === undefined) return reply
  const headers = { ...reply.headers, etag }
  const noneMatch = call.header('if-none-match')
  const isRead = call.method === 'GET' || call.method === 'HEAD'
  if (isRead && noneMatch !== undefined && names(noneMatch, etag)) return { status: 304, headers }
  return { ...reply, headers }
}
