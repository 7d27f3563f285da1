/**
 * An image file here, uploaded page by page as the fixed VHD that Azure's page blobs are. Of a raw image the footer is made
 * here. Pieces that are all zeros are not sent: what was not written is zeros.
 *
 * Left in the middle, the disk waits for its upload; the same command again writes it whole.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { DISK_BYTES_MAX, errnoOf, MIB, SECTOR_BYTES } from '#base'
import { CliError } from '../errors.ts'
import { type ApiContext, conclude, type Shown, type WaitOptions } from './api-command.ts'
import type { ApiClient } from './api-client.ts'
import { DISK } from './disk-kind.ts'
import type { DiskJson } from './resource-json.ts'
import { withWriteAccess } from './signed-access.ts'
import { nameOf } from './targets.ts'

const PIECE_BYTES = 4 * MIB
const FOOTER_BYTES = 512
const ATTEMPTS_MAX = 5
const ZEROS = Buffer.alloc(PIECE_BYTES)

export type UploadImage = Readonly<{
  uploadSizeBytes: number
  /** Bytes from `from`, not beyond the end. */
  read: (from: number, length: number) => Promise<Buffer>
  close: () => Promise<void>
}>

function invalid(path: string, message: string, hint: string): CliError {
  return new CliError('usage_invalid', `${path} ${message}`, { facts: { path }, hint })
}

async function readAt(file: FileHandle, from: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  if (length === 0) return bytes
  const { bytesRead } = await file.read(bytes, 0, length, from)
  if (bytesRead === length) return bytes
  throw new CliError('system_error', 'The file became shorter while it was read.')
}

async function vhdImage(file: FileHandle, path: string, footer: Buffer, sizeBytes: number): Promise<UploadImage> {
  const { readVhdFooter } = await import('#engine/block')
  const { kind, virtualSizeBytes } = readVhdFooter(path, footer)
  if (kind !== 'fixed' || virtualSizeBytes + FOOTER_BYTES !== sizeBytes)
    throw invalid(
      path,
      'is a VHD, but not of fixed size.',
      'Convert it with qemu-img: -O vpc -o subformat=fixed,force_size=on.',
    )
  return { uploadSizeBytes: sizeBytes, read: (from, length) => readAt(file, from, length), close: () => file.close() }
}

async function rawImage(file: FileHandle, path: string, sizeBytes: number): Promise<UploadImage> {
  if (sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0 || sizeBytes > DISK_BYTES_MAX)
    throw invalid(path, 'is no raw image: its size is not whole sectors.', 'Convert it with qemu-img: -O raw.')
  const { makeFixedVhdFooter } = await import('#engine/block')
  const { systemClock } = await import('#runtime')
  const id = createHash('sha256').update(`${path}\n${sizeBytes}`).digest().subarray(0, 16)
  const footer = makeFixedVhdFooter(sizeBytes, id, systemClock.nowMs())
  const read = async (from: number, length: number): Promise<Buffer> => {
    const inFile = Math.max(0, Math.min(length, sizeBytes - from))
    const head = inFile === 0 ? Buffer.alloc(0) : await readAt(file, from, inFile)
    const at = from + inFile - sizeBytes
    return inFile === length ? head : Buffer.concat([head, footer.subarray(at, at + length - inFile)])
  }
  return { uploadSizeBytes: sizeBytes + FOOTER_BYTES, read, close: () => file.close() }
}

/** What other formats begin with: uploaded as raw, they would be a disk of nonsense. */
const FOREIGN = [
  ['qcow2', Buffer.from('QFI\u00fb', 'latin1')],
  ['VHDX', Buffer.from('vhdxfile', 'latin1')],
  ['VMDK', Buffer.from('KDMV', 'latin1')],
] as const

/** @param format named, or found out @throws CliError `usage_invalid` */
export async function openUpload(path: string, format: 'raw' | 'vhd' | undefined): Promise<UploadImage> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    if (errnoOf(cause) !== 'ENOENT') throw cause
    throw new CliError('usage_invalid', `There is no file ${path}.`, { facts: { path }, cause })
  })
  try {
    const stat = await file.stat()
    if (stat.isDirectory()) throw invalid(path, 'is a folder.', 'Name the image itself.')
    const { size } = stat
    const head = await readAt(file, 0, Math.min(8, size))
    const footer = size < FOOTER_BYTES ? Buffer.alloc(0) : await readAt(file, size - FOOTER_BYTES, FOOTER_BYTES)
    const isVhd = format === undefined ? footer.toString('latin1', 0, 8) === 'conectix' : format === 'vhd'
    if (isVhd) return await vhdImage(file, path, footer, size)
    const foreign = FOREIGN.find(([, magic]) => head.subarray(0, magic.length).equals(magic))
    if (foreign !== undefined && format === undefined)
      throw invalid(
        path,
        `looks like ${foreign[0]}, not raw.`,
        'Convert it with qemu-img: -O raw; or import it on the server.',
      )
    return await rawImage(file, path, size)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Makes the page blob anew: of an upload that was left in the middle nothing stays. */
async function beginBlob(client: ApiClient, url: string, sizeBytes: number): Promise<void> {
  const headers = {
    'x-ms-blob-type': 'PageBlob',
    'x-ms-blob-content-length': String(sizeBytes),
    'x-ms-version': '2018-03-28',
    'content-length': '0',
  }
  const { status, headers: said } = await client.http.ask({ method: 'PUT', url, headers, signal: client.signal })
  if (status !== 201) throw refused('The upload was', status, said['x-ms-error-code'])
}

function refused(what: string, status: number, code: string | undefined): CliError {
  return new CliError('api_answer_invalid', `${what} refused with status ${status}.`, {
    facts: { status, code },
    retry: 'later',
  })
}

async function putPages(client: ApiClient, url: string, from: number, bytes: Buffer): Promise<void> {
  const headers = {
    range: `bytes=${from}-${from + bytes.length - 1}`,
    'x-ms-page-write': 'update',
    'x-ms-version': '2018-03-28',
    'content-md5': createHash('md5').update(bytes).digest('base64'),
    'content-type': 'application/octet-stream',
  }
  for (let attempt = 1; ; attempt += 1) {
    const { status, headers: said } = await client.http.ask({
      method: 'PUT',
      url: `${url}&comp=page`,
      headers,
      body: bytes,
      signal: client.signal,
    })
    if (status === 201) return
    if (status < 500 || attempt >= ATTEMPTS_MAX)
      throw refused(`The pages at ${from} were`, status, said['x-ms-error-code'])
    await client.clock.sleep(1000 * attempt, client.signal)
  }
}

/** Sends it all, then the disk is made of it. */
export async function sendUpload(
  context: ApiContext,
  id: string,
  image: UploadImage,
  options: WaitOptions,
): Promise<Shown | undefined> {
  const { client, output } = context
  const { uploadSizeBytes } = image
  await withWriteAccess(context, id, async (url) => {
    await beginBlob(client, url, uploadSizeBytes)
    for (let from = 0; from < uploadSizeBytes; from += PIECE_BYTES) {
      const bytes = await image.read(from, Math.min(PIECE_BYTES, uploadSizeBytes - from))
      const isZero = bytes.equals(ZEROS.subarray(0, bytes.length))
      if (!isZero) await putPages(client, url, from, bytes)
      output.progress({ task: `Uploading ${nameOf(id)}`, doneBytes: from + bytes.length, totalBytes: uploadSizeBytes })
    }
  })
  const answer = await client.ask('POST', `${id}/endGetAccess`)
  const show = async (): Promise<Shown> => DISK.one(await client.get<DiskJson>(id))
  return conclude(context, options, answer, { task: `Finishing ${nameOf(id)}`, show })
}
