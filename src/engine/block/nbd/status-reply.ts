/** The chunks that answer NBD_CMD_BLOCK_STATUS: one per agreed meta context, the last one marked as such. */
import { assert, must } from '#base'
import type { ExtentKind } from '../extent.ts'
import type { MetaExtent, NbdExport } from './export.ts'
import type { Agreement } from './server-handshake.ts'
import {
  BASE_ALLOCATION,
  CMD_FLAG,
  encodeChunkHeader,
  REPLY,
  REPLY_FLAG_DONE,
  type Request,
  STATE_HOLE,
  STATE_ZERO,
  STRUCTURED_REPLY_BYTES,
} from './wire.ts'

/** 64 Ki extents make a reply of half a MiB; the client asks on where it ends. */
const EXTENTS_MAX = 64 * 1024

const STATES: Readonly<Record<ExtentKind, number>> = { data: 0, zero: STATE_ZERO, hole: STATE_HOLE | STATE_ZERO }

export async function statusChunks(agreement: Agreement, request: Request, signal: AbortSignal): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  const extentsMax = (request.flags & CMD_FLAG.REQ_ONE) === 0 ? EXTENTS_MAX : 1
  for (const [name, id] of agreement.contexts) {
    const extents = await metaExtents(agreement.export, name, request, signal)
    const isLast = chunks.length === agreement.contexts.size - 1
    chunks.push(encodeStatus(request, id, joined(extents, request.length, extentsMax), isLast))
  }
  return chunks
}

async function metaExtents(
  offered: NbdExport,
  name: string,
  request: Request,
  signal: AbortSignal,
): Promise<readonly MetaExtent[]> {
  if (name !== BASE_ALLOCATION) {
    const context = must(offered.contexts?.get(name), 'Only contexts of the export were agreed')
    return await context(request.offset, request.length, signal)
  }
  const extents = await offered.source.extents(request.offset, request.length, signal)
  return extents.map((extent) => ({ length: extent.length, flags: STATES[extent.kind] }))
}

/** Neighbours of one state joined, at most `max` of them. */
function joined(extents: readonly MetaExtent[], lengthAsked: number, max: number): MetaExtent[] {
  const runs: { length: number; flags: number }[] = []
  let total = 0
  for (const extent of extents) {
    const last = runs.at(-1)
    if (last?.flags === extent.flags) last.length += extent.length
    else if (runs.length === max) return runs
    else runs.push({ ...extent })
    total += extent.length
  }
  assert(total === lengthAsked, 'The extents of a range cover it completely')
  return runs
}

function encodeStatus(request: Request, id: number, extents: readonly MetaExtent[], isLast: boolean): Buffer {
  const payloadBytes = 4 + 8 * extents.length
  const flags = isLast ? REPLY_FLAG_DONE : 0
  const chunk = encodeChunkHeader(request, REPLY.BLOCK_STATUS, flags, payloadBytes, payloadBytes)
  chunk.writeUInt32BE(id, STRUCTURED_REPLY_BYTES)
  let at = STRUCTURED_REPLY_BYTES + 4
  for (const extent of extents) {
    chunk.writeUInt32BE(extent.length, at)
    chunk.writeUInt32BE(extent.flags, at + 4)
    at += 8
  }
  return chunk
}
