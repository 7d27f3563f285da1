/**
 * The bytes of disks and snapshots behind signed URLs: a fixed VHD as a page blob. Read with ranges and the list of written
 * pages; an upload is written page by page. Whatever else a page blob can do is refused by name.
 * Source: Azure Blob Storage REST API, Get Blob, Get Page Ranges, Put Page, Put Blob.
 */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { KIB } from '#base'
import { findResource, listResources, type ResourceRecord } from '#catalog'
import { type DiskBacking, type DiskGrant, type SnapshotBacking, VHD_FOOTER_BYTES } from '#domain'
import { type ByteSource, DISK_RESTORE_POINT_TYPE, DISK_TYPE, propertiesOf, sizeBytesOf, SNAPSHOT_TYPE } from '#jobs'
import type { ArmHost } from '../arm/call.ts'
import { isSigned, linkedGrantOf, openGrantOf } from './access-url.ts'
import {
  answer,
  BlobRefusal,
  type BlobRequest,
  checkConditions,
  commonHeaders,
  notSupported,
  pageRangeOf,
  rangeOf,
  readBody,
} from './blob-http.ts'

const PUT_BYTES_MAX = 4 * KIB * KIB
const TYPES = [DISK_TYPE, SNAPSHOT_TYPE, DISK_RESTORE_POINT_TYPE]

function refused(): BlobRefusal {
  return new BlobRefusal(403, 'AuthenticationFailed', 'The signature is not valid, has expired or was revoked.')
}

type Opened = Readonly<{ record: ResourceRecord; access: 'Read' | 'Write'; etag: string }>

/** Where a disk's bytes are; those of a snapshot are in its region's store, which this host reads. */
export function hostOf(record: ResourceRecord): string | undefined {
  return record.type === DISK_TYPE ? (record.backing as unknown as DiskBacking).host : undefined
}

export class DiskBlobs {
  readonly #host: ArmHost
  /** Ids of resources by their uniqueId; only a hint, for what it finds is looked up. */
  readonly #known = new Map<string, string>()

  constructor(host: ArmHost) {
    this.#host = host
  }

  /** @throws BlobRefusal, and what moving the bytes raises */
  async serve(call: BlobRequest): Promise<void> {
    const opened = await this.#open(call)
    const comp = call.url.searchParams.get('comp')
    if (call.method === 'GET' || call.method === 'HEAD') {
      if (opened.access === 'Write') return this.#headOfUpload(call, opened)
      if (comp === null) return this.#read(call, opened)
      if (comp === 'pagelist' && call.method === 'GET') return this.#pages(call, opened)
    }
    if (call.method === 'PUT') {
      if (opened.access !== 'Write')
        throw new BlobRefusal(403, 'AuthorizationPermissionMismatch', 'This URL is for reading.')
      if (comp === 'page') return this.#write(call, opened)
      if (comp === null) return this.#begin(call, opened)
    }
    throw notSupported(`${call.method}${comp === null ? '' : ` with comp=${comp}`} on a disk`)
  }

  async #open({ url }: BlobRequest): Promise<Opened> {
    const [, , uniqueId = '', grantId = ''] = url.pathname.split('/')
    const record = await this.#find(uniqueId)
    const grant = record === undefined ? undefined : await this.#grantOf(record, grantId, url.searchParams)
    if (record === undefined || grant === undefined || grant.id !== grantId) throw refused()
    if (!isSigned(this.#host.disks.accessKey, uniqueId, grant, url.searchParams)) throw refused()
    return { record, access: grant.access, etag: `"0x${grant.id.replaceAll('-', '').slice(0, 16).toUpperCase()}"` }
  }

  /** That of the record, or that of a linked server's copying, which holds as long as the link does. */
  async #grantOf(record: ResourceRecord, grantId: string, query: URLSearchParams): Promise<DiskGrant | undefined> {
    const nowMs = this.#host.clock.nowMs()
    const linked = linkedGrantOf(grantId, query)
    if (linked === undefined) return openGrantOf(record, nowMs)
    const isOpen = linked.expiresMs > nowMs && record.type !== DISK_TYPE
    return isOpen && (await this.#host.links.ownerOf(linked.subscription)) !== undefined ? linked : undefined
  }

  async #find(uniqueId: string): Promise<ResourceRecord | undefined> {
    const { catalog } = this.#host
    const known = this.#known.get(uniqueId)
    const hinted = known === undefined ? undefined : await findResource(catalog, known)
    if (hinted !== undefined && propertiesOf(hinted)['uniqueId'] === uniqueId) return hinted
    for (const type of TYPES)
      for (const record of await listResources(catalog, { type })) {
        if (propertiesOf(record)['uniqueId'] !== uniqueId) continue
        this.#known.set(uniqueId, record.id)
        return record
      }
    return undefined
  }

  async #source(record: ResourceRecord): Promise<ByteSource> {
    const { uniqueId } = propertiesOf(record)
    const shared = {
      key: record.key,
      sizeBytes: sizeBytesOf(record),
      vhd: { id: String(uniqueId), createdMs: record.createdMs },
    }
    if (record.type === DISK_TYPE) {
      const { file, format } = record.backing as unknown as DiskBacking
      return { ...shared, bytes: { kind: 'disk', path: file, format } }
    }
    const { version } = record.backing as SnapshotBacking
    if (version === undefined) throw refused()
    const access = await this.#host.disks.regionAccess(version.region)
    return { ...shared, bytes: { kind: 'version', access, point: version.point, disk: version.disk } }
  }

  #headers({ record, etag }: Opened, sizeBytes: number): Record<string, string | number> {
    return {
      etag,
      'last-modified': new globalThis.Date(record.createdMs).toUTCString(),
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
      'content-length': sizeBytes,
      'x-ms-blob-type': 'PageBlob',
      'x-ms-blob-sequence-number': 0,
      'x-ms-lease-status': 'unlocked',
      'x-ms-lease-state': 'available',
      'x-ms-server-encrypted': 'false',
      'x-ms-creation-time': new globalThis.Date(record.createdMs).toUTCString(),
    }
  }

  async #read(call: BlobRequest, opened: Opened): Promise<void> {
    const source = await this.#source(opened.record)
    const sizeBytes = source.sizeBytes + VHD_FOOTER_BYTES
    checkConditions(call.header, opened.etag)
    const { from, to, isPart } = rangeOf(call.header, sizeBytes)
    const headers = {
      ...commonHeaders(call.requestId),
      ...this.#headers(opened, to - from),
      ...(isPart && { 'content-range': `bytes ${from}-${to - 1}/${sizeBytes}` }),
    }
    if (call.method === 'HEAD') {
      call.response.writeHead(200, { ...headers, 'content-length': sizeBytes })
      return void call.response.end()
    }
    const { bytes, streams } = this.#host.disks
    await streams.during(opened.record.key, async (ended) => {
      const signal = AbortSignal.any([ended, call.signal])
      const body = await bytes.on(hostOf(opened.record)).read(source, from, to, signal)
      call.response.writeHead(isPart ? 206 : 200, headers)
      await pipeline(body, call.response, { signal })
    })
  }

  async #pages(call: BlobRequest, opened: Opened): Promise<void> {
    for (const name of ['prevsnapshot', 'marker', 'maxresults'])
      if (call.url.searchParams.has(name)) throw notSupported(`'${name}' in the list of pages`)
    const source = await this.#source(opened.record)
    const sizeBytes = source.sizeBytes + VHD_FOOTER_BYTES
    checkConditions(call.header, opened.etag)
    const { from, to } = rangeOf(call.header, sizeBytes)
    const found = await this.#host.disks.bytes.on(hostOf(opened.record)).ranges(source)
    const list = found
      .map(([offset, length]) => [Math.max(offset, from), Math.min(offset + length, to)] as const)
      .filter(([start, end]) => end > start)
      .map(([start, end]) => `<PageRange><Start>${start}</Start><End>${end - 1}</End></PageRange>`)
    const body = `<?xml version="1.0" encoding="utf-8"?><PageList>${list.join('')}</PageList>`
    const { etag, 'last-modified': modified } = this.#headers(opened, 0)
    answer(
      call,
      200,
      { etag: String(etag), 'last-modified': String(modified), 'x-ms-blob-content-length': sizeBytes },
      body,
    )
  }

  #uploadOf({ record }: Opened): Readonly<{ path: string; sizeBytes: number }> {
    const { upload } = record.backing as unknown as DiskBacking
    if (upload === undefined) throw refused()
    return { path: upload, sizeBytes: sizeBytesOf(record) + VHD_FOOTER_BYTES }
  }

  #headOfUpload(call: BlobRequest, opened: Opened): void {
    const { sizeBytes } = this.#uploadOf(opened)
    if (call.method !== 'HEAD') throw notSupported('reading an upload')
    call.response.writeHead(200, { ...commonHeaders(call.requestId), ...this.#headers(opened, sizeBytes) })
    call.response.end()
  }

  /** Put Blob: some clients make the page blob before they write its pages. What was there is zeros then. */
  async #begin(call: BlobRequest, opened: Opened): Promise<void> {
    const { path, sizeBytes } = this.#uploadOf(opened)
    if (call.header('x-ms-blob-type') !== 'PageBlob') throw notSupported('an upload that is no page blob')
    if (Number(call.header('x-ms-blob-content-length')) !== sizeBytes)
      throw new BlobRefusal(400, 'InvalidHeaderValue', `The upload was announced with ${sizeBytes} bytes.`)
    await this.#host.disks.bytes.on(hostOf(opened.record)).clearPages(path, 0, sizeBytes)
    this.#written(call, opened)
  }

  async #write(call: BlobRequest, opened: Opened): Promise<void> {
    const { path, sizeBytes } = this.#uploadOf(opened)
    if (call.header('x-ms-content-crc64') !== undefined) throw notSupported('x-ms-content-crc64; send Content-MD5')
    const { from, to } = pageRangeOf(call.header, sizeBytes, PUT_BYTES_MAX)
    const { streams } = this.#host.disks
    const bytes = this.#host.disks.bytes.on(hostOf(opened.record))
    const kind = call.header('x-ms-page-write')?.toLowerCase()
    if (kind === 'clear') await bytes.clearPages(path, from, to)
    else if (kind !== 'update')
      throw new BlobRefusal(400, 'InvalidHeaderValue', 'x-ms-page-write must be update or clear.')
    else {
      const body = await readBody(call.request, to - from)
      if (body.length !== to - from) throw new BlobRefusal(400, 'InvalidInput', 'The body is not as long as its range.')
      checkMd5(call.header('content-md5'), body)
      await streams.during(opened.record.key, (ended) =>
        bytes.writePages(path, from, body.length, Readable.from([body]), AbortSignal.any([ended, call.signal])),
      )
    }
    this.#written(call, opened)
  }

  #written(call: BlobRequest, opened: Opened): void {
    const { etag, 'last-modified': modified } = this.#headers(opened, 0)
    answer(call, 201, {
      etag: String(etag),
      'last-modified': String(modified),
      'x-ms-blob-sequence-number': 0,
      'x-ms-request-server-encrypted': 'false',
    })
  }
}

export function checkMd5(given: string | undefined, body: Uint8Array): void {
  if (given === undefined || createHash('md5').update(body).digest('base64') === given) return
  throw new BlobRefusal(400, 'Md5Mismatch', 'The MD5 value specified in the request did not match what was received.')
}
