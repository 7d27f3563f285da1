/**
 * The blob service of a storage account: containers, block and page blobs; enough for VHDs, staging and templates. What is
 * not supported is refused by name. Source: Azure Blob Storage REST API.
 *
 * Bodies stream into files. A blob is what it was or what it becomes, never half (storage-files.ts).
 */
import { createReadStream } from 'node:fs'
import { open, readdir, rm, truncate } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { DISK_BYTES_MAX, MIB, randomUuid } from '#base'
import type { ResourceRecord } from '#catalog'
import type { ArmHost } from '../arm/call.ts'
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
  xmlText,
} from './blob-http.ts'
import { checkMd5 } from './disk-blob.ts'
import { joinFiles, receive } from './receive-file.ts'
import { authorize, type Permission } from './storage-auth.ts'
import { accountFolder, type BlobRecord, checkBlobName, ContainerFiles, partsOfUrl } from './storage-files.ts'

const PAGES_BYTES_MAX = 4 * MIB
const BLOCK_LIST_BYTES_MAX = 4 * MIB
const BLOCKS_MAX = 50_000
const PAGE_MAX = 5000
const REFUSED_HEADERS = [
  'x-ms-copy-source',
  'x-ms-encryption-key',
  'x-ms-encryption-scope',
  'x-ms-lease-id',
  'x-ms-tags',
]
const REFUSED_PARAMETERS = ['snapshot', 'versionid', 'delimiter']

type At = BlobRequest &
  Readonly<{ account: ResourceRecord; container: string; blob: string; comp: string; files: ContainerFiles }>

function noContainer(): BlobRefusal {
  return new BlobRefusal(404, 'ContainerNotFound', 'The specified container does not exist.')
}

function noBlob(): BlobRefusal {
  return new BlobRefusal(404, 'BlobNotFound', 'The specified blob does not exist.')
}

function dateOf(ms: number): string {
  return new globalThis.Date(ms).toUTCString()
}

export class StorageBlobs {
  readonly #host: ArmHost

  constructor(host: ArmHost) {
    this.#host = host
  }

  /** @throws BlobRefusal, and what the file system raises */
  async serve(call: BlobRequest, account: ResourceRecord): Promise<void> {
    const { container, blob } = partsOfUrl(call.url)
    const comp = call.url.searchParams.get('comp') ?? ''
    const restype = call.url.searchParams.get('restype') ?? ''
    const may = (...wanted: Permission[]): void => authorize(this.#host, account, call, wanted)
    const verb = `${call.method} ${comp}`.trim()
    if (container === '') return this.#service(call, account, `${verb} ${restype}`.trim(), may)
    const files = new ContainerFiles(accountFolder(account), container, this.#host.random)
    const at: At = { ...call, account, container, blob, comp, files }
    for (const name of REFUSED_HEADERS) if (call.header(name) !== undefined) throw notSupported(`the header ${name}`)
    for (const name of REFUSED_PARAMETERS)
      if ((call.url.searchParams.get(name) ?? '') !== '') throw notSupported(`the parameter ${name}`)
    return blob === '' ? this.#container(at, verb, may) : this.#blob(at, verb, may)
  }

  async #service(
    call: BlobRequest,
    account: ResourceRecord,
    verb: string,
    may: (...wanted: Permission[]) => void,
  ): Promise<void> {
    if (verb !== 'GET list') throw notSupported(`${verb} on the account`)
    may('l')
    const prefix = call.url.searchParams.get('prefix') ?? ''
    const names = await readdir(accountFolder(account), { withFileTypes: true })
    const list = names
      .filter((one) => one.isDirectory() && one.name.startsWith(prefix))
      .map(({ name }) => name)
      .sort()
      .map((name) => `<Container><Name>${xmlText(name)}</Name><Properties></Properties></Container>`)
    const body = `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Prefix>${xmlText(prefix)}</Prefix><Containers>${list.join('')}</Containers><NextMarker/></EnumerationResults>`
    answer(call, 200, {}, body)
  }

  async #container(at: At, verb: string, may: (...wanted: Permission[]) => void): Promise<void> {
    const { files } = at
    const created = await files.createdMs()
    if (verb === 'PUT') {
      may('c', 'w')
      if (at.header('x-ms-blob-public-access') !== undefined) throw notSupported('public access')
      if ((await files.create()) === 'exists')
        throw new BlobRefusal(409, 'ContainerAlreadyExists', 'The specified container already exists.')
      return answer(at, 201, { etag: '"0x1"', 'last-modified': dateOf(this.#host.clock.nowMs()) })
    }
    may(...(verb === 'DELETE' ? (['d'] as const) : (['l', 'r'] as const)))
    if (created === undefined) throw noContainer()
    if (verb === 'DELETE') {
      await files.remove()
      return answer(at, 202)
    }
    if (verb === 'HEAD' || verb === 'GET')
      return answer(at, 200, {
        etag: '"0x1"',
        'last-modified': dateOf(created),
        'x-ms-lease-status': 'unlocked',
        'x-ms-lease-state': 'available',
        'x-ms-has-immutability-policy': 'false',
        'x-ms-has-legal-hold': 'false',
      })
    if (verb === 'GET list') return this.#list(at)
    throw notSupported(`${verb} on a container`)
  }

  async #list(at: At): Promise<void> {
    const { searchParams } = at.url
    const prefix = searchParams.get('prefix') ?? ''
    const from = searchParams.get('marker') ?? ''
    const wanted = Number(searchParams.get('maxresults') ?? PAGE_MAX)
    const max = Number.isSafeInteger(wanted) && wanted > 0 ? Math.min(wanted, PAGE_MAX) : PAGE_MAX
    const found = (await at.files.list(prefix)).filter(({ name }) => name >= from)
    const next = found[max]?.name ?? ''
    const list = found
      .slice(0, max)
      .map(
        (blob) =>
          `<Blob><Name>${xmlText(blob.name)}</Name><Properties><Creation-Time>${dateOf(blob.createdMs)}</Creation-Time>` +
          `<Last-Modified>${dateOf(blob.modifiedMs)}</Last-Modified><Etag>${xmlText(blob.etag)}</Etag>` +
          `<Content-Length>${blob.sizeBytes}</Content-Length><Content-Type>${xmlText(blob.contentType)}</Content-Type>` +
          `<BlobType>${blob.type}</BlobType><LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState></Properties></Blob>`,
      )
    const body =
      `<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="${xmlText(at.container)}">` +
      `<Prefix>${xmlText(prefix)}</Prefix><MaxResults>${max}</MaxResults><Blobs>${list.join('')}</Blobs><NextMarker>${xmlText(next)}</NextMarker></EnumerationResults>`
    answer(at, 200, {}, body)
  }

  async #blob(at: At, verb: string, may: (...wanted: Permission[]) => void): Promise<void> {
    checkBlobName(at.blob)
    const isReading = at.method === 'GET' || at.method === 'HEAD'
    may(...(isReading ? (['r'] as const) : at.method === 'DELETE' ? (['d'] as const) : (['w', 'c'] as const)))
    if ((await at.files.createdMs()) === undefined) throw noContainer()
    switch (verb) {
      case 'GET':
      case 'HEAD':
      case 'HEAD metadata':
        return this.#read(at)
      case 'GET pagelist':
        return this.#pageList(at)
      case 'PUT':
        return this.#put(at)
      case 'PUT block':
        return this.#putBlock(at)
      case 'PUT blocklist':
        return this.#putBlockList(at)
      case 'PUT page':
        return this.#putPage(at)
      case 'DELETE': {
        const record = await this.#find(at)
        checkConditions(at.header, record.etag)
        await at.files.delete(record)
        return answer(at, 202)
      }
      default:
        throw notSupported(`${verb} on a blob`)
    }
  }

  async #find({ files, blob }: At): Promise<BlobRecord> {
    const record = await files.find(blob)
    if (record === undefined) throw noBlob()
    return record
  }

  #headers(record: BlobRecord): Record<string, string | number> {
    return {
      etag: record.etag,
      'last-modified': dateOf(record.modifiedMs),
      'accept-ranges': 'bytes',
      'content-type': record.contentType,
      'x-ms-blob-type': record.type,
      'x-ms-creation-time': dateOf(record.createdMs),
      'x-ms-lease-status': 'unlocked',
      'x-ms-lease-state': 'available',
      'x-ms-server-encrypted': 'false',
      ...(record.type === 'PageBlob' && { 'x-ms-blob-sequence-number': 0 }),
      ...Object.fromEntries(Object.entries(record.metadata).map(([name, value]) => [`x-ms-meta-${name}`, value])),
    }
  }

  async #read(at: At): Promise<void> {
    const record = await this.#find(at)
    checkConditions(at.header, record.etag)
    const { from, to, isPart } = rangeOf(at.header, record.sizeBytes)
    const md5 =
      record.contentMd5 === undefined ? {} : { [isPart ? 'x-ms-blob-content-md5' : 'content-md5']: record.contentMd5 }
    const headers = {
      ...commonHeaders(at.requestId),
      ...this.#headers(record),
      ...md5,
      'content-length': to - from,
      ...(isPart && { 'content-range': `bytes ${from}-${to - 1}/${record.sizeBytes}` }),
    }
    if (at.method === 'HEAD') {
      at.response.writeHead(200, { ...headers, 'content-length': record.sizeBytes })
      return void at.response.end()
    }
    at.response.writeHead(isPart ? 206 : 200, headers)
    if (to === from) return void at.response.end()
    const body = createReadStream(at.files.path(record.data), { start: from, end: to - 1 })
    await pipeline(body, at.response, { signal: at.signal })
  }

  async #pageList(at: At): Promise<void> {
    const record = await this.#find(at)
    if (record.type !== 'PageBlob') throw new BlobRefusal(409, 'InvalidBlobType', 'The blob is no page blob.')
    const { from, to } = rangeOf(at.header, record.sizeBytes)
    const all = to > from ? `<PageRange><Start>${from}</Start><End>${to - 1}</End></PageRange>` : ''
    const headers = { etag: record.etag, 'x-ms-blob-content-length': record.sizeBytes }
    answer(at, 200, headers, `<?xml version="1.0" encoding="utf-8"?><PageList>${all}</PageList>`)
  }

  #newRecord(at: At, type: BlobRecord['type'], data: string, sizeBytes: number, md5?: string): BlobRecord {
    const nowMs = this.#host.clock.nowMs()
    const contentMd5 = at.header('x-ms-blob-content-md5') ?? md5
    const metadata = Object.keys(at.request.headers)
      .filter((name) => name.startsWith('x-ms-meta-'))
      .map((name) => [name.slice('x-ms-meta-'.length), at.header(name) ?? ''] as const)
    return {
      name: at.blob,
      type,
      data,
      sizeBytes,
      etag: this.#newEtag(),
      createdMs: nowMs,
      modifiedMs: nowMs,
      contentType: at.header('x-ms-blob-content-type') ?? at.header('content-type') ?? 'application/octet-stream',
      ...(contentMd5 !== undefined && { contentMd5 }),
      metadata: Object.fromEntries(metadata),
    }
  }

  #newEtag(): string {
    return `"0x${randomUuid(this.#host.random).replaceAll('-', '').slice(0, 16).toUpperCase()}"`
  }

  #created(at: At, record: BlobRecord): void {
    answer(at, 201, {
      etag: record.etag,
      'last-modified': dateOf(record.modifiedMs),
      'x-ms-request-server-encrypted': 'false',
      ...(record.contentMd5 !== undefined && { 'content-md5': record.contentMd5 }),
    })
  }

  async #checkBefore(at: At): Promise<void> {
    const before = await at.files.find(at.blob)
    if (before !== undefined && at.header('if-none-match') === '*')
      throw new BlobRefusal(409, 'BlobAlreadyExists', 'The specified blob already exists.')
    if (before === undefined && at.header('if-match') !== undefined)
      throw new BlobRefusal(412, 'ConditionNotMet', 'There is no such blob.')
    if (before !== undefined && at.header('if-match') !== undefined) checkConditions(at.header, before.etag)
  }

  async #put(at: At): Promise<void> {
    await this.#checkBefore(at)
    const data = at.files.newDataName()
    const type = at.header('x-ms-blob-type')
    if (type === 'BlockBlob') {
      const { sizeBytes, md5 } = await receive(at, at.files.path(data))
      const record = this.#newRecord(at, 'BlockBlob', data, sizeBytes, md5)
      await at.files.put(record)
      return this.#created(at, record)
    }
    if (type !== 'PageBlob') throw notSupported(`blobs of type '${type ?? ''}'`)
    const sizeBytes = Number(at.header('x-ms-blob-content-length'))
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0 || sizeBytes > DISK_BYTES_MAX)
      throw new BlobRefusal(400, 'InvalidHeaderValue', 'x-ms-blob-content-length must be whole pages of 512 bytes.')
    await (await open(at.files.path(data), 'wx', 0o600)).close()
    await truncate(at.files.path(data), sizeBytes)
    const record = this.#newRecord(at, 'PageBlob', data, sizeBytes)
    await at.files.put(record)
    return this.#created(at, record)
  }

  async #putBlock(at: At): Promise<void> {
    const id = at.url.searchParams.get('blockid') ?? ''
    if (!/^[A-Za-z0-9+/=]{1,88}$/.test(id))
      throw new BlobRefusal(400, 'InvalidQueryParameterValue', 'blockid is not valid.')
    const path = at.files.blockPath(at.blob, id)
    await rm(path, { force: true })
    const { md5 } = await receive(at, path)
    answer(at, 201, { 'content-md5': md5, 'x-ms-request-server-encrypted': 'false' })
  }

  async #putBlockList(at: At): Promise<void> {
    await this.#checkBefore(at)
    const text = (await readBody(at.request, BLOCK_LIST_BYTES_MAX)).toString('utf8')
    const ids = Array.from(text.matchAll(/<(Latest|Uncommitted|Committed)>([A-Za-z0-9+/=]{1,88})<\/\1>/g), (match) => {
      if (match[1] === 'Committed') throw notSupported('committed blocks in a new list')
      return match[2] ?? ''
    })
    if (ids.length > BLOCKS_MAX)
      throw new BlobRefusal(400, 'BlockListTooLong', `At most ${BLOCKS_MAX} blocks make a blob.`)
    const data = at.files.newDataName()
    const paths = ids.map((id) => at.files.blockPath(at.blob, id))
    const sizeBytes = await joinFiles(paths, at.files.path(data))
    const record = this.#newRecord({ ...at, header: withoutType(at.header) }, 'BlockBlob', data, sizeBytes)
    await at.files.put(record)
    for (const path of new Set(paths)) await rm(path, { force: true })
    this.#created(at, record)
  }

  async #putPage(at: At): Promise<void> {
    const record = await this.#find(at)
    if (record.type !== 'PageBlob') throw new BlobRefusal(409, 'InvalidBlobType', 'The blob is no page blob.')
    checkConditions(at.header, record.etag)
    const { from, to } = pageRangeOf(at.header, record.sizeBytes, PAGES_BYTES_MAX)
    const kind = at.header('x-ms-page-write')?.toLowerCase()
    if (kind !== 'update' && kind !== 'clear')
      throw new BlobRefusal(400, 'InvalidHeaderValue', 'x-ms-page-write must be update or clear.')
    const body = kind === 'clear' ? Buffer.alloc(to - from) : await readBody(at.request, to - from)
    if (body.length !== to - from) throw new BlobRefusal(400, 'InvalidInput', 'The body is not as long as its range.')
    checkMd5(at.header('content-md5'), body)
    const file = await open(at.files.path(record.data), 'r+')
    try {
      for (let done = 0; done < body.length;)
        done += (await file.write(body, done, body.length - done, from + done)).bytesWritten
    } finally {
      await file.close()
    }
    const { contentMd5: _stale, ...rest } = record
    const changed = { ...rest, etag: this.#newEtag(), modifiedMs: this.#host.clock.nowMs() }
    await at.files.put(changed)
    this.#created(at, changed)
  }
}

/** The content type of a block list is that of the list. */
function withoutType(header: BlobRequest['header']): BlobRequest['header'] {
  return (name) => (name === 'content-type' || name === 'content-md5' ? undefined : header(name))
}
