/**
 * `--disk LUN=[FORMAT:]SOURCE`. SOURCE is an image file, a block device, or an NBD export by its URI (the NBD URI
 * specification): nbd://host[:port]/export, nbd+unix:///export?socket=/path. An export's bytes are the disk's: no format.
 */
import { InvalidArgumentError } from 'commander'

/** As people name formats, and as QEMU does. */
const FORMATS: Readonly<Record<string, ImageFormatName>> = {
  raw: 'raw',
  qcow2: 'qcow2',
  vhd: 'vpc',
  vpc: 'vpc',
  vhdx: 'vhdx',
  vmdk: 'vmdk',
}
export type ImageFormatName = 'raw' | 'qcow2' | 'vpc' | 'vhdx' | 'vmdk'

export type NbdPlace =
  | Readonly<{ kind: 'nbd'; socketPath: string; exportName: string }>
  | Readonly<{ kind: 'nbd-tcp'; host: string; port: number; exportName: string }>
export type DiskArgument = Readonly<{
  lun: number
  source: Readonly<{ kind: 'image'; path: string; format: ImageFormatName | undefined }> | NbdPlace
}>

const NBD_PORT = 10_809

/** Parses one argument and adds it to those before; for commander. @throws InvalidArgumentError */
export function collectDisk(text: string, before: readonly DiskArgument[] = []): DiskArgument[] {
  const match = /^(\d{1,4})=(.+)$/s.exec(text)
  const lun = Number(match?.[1])
  const place = match?.[2]
  if (place === undefined)
    throw new InvalidArgumentError('Write LUN=[FORMAT:]SOURCE, as in 0=qcow2:/images/web1.qcow2.')
  if (before.some((disk) => disk.lun === lun)) throw new InvalidArgumentError(`There are two disks with LUN ${lun}.`)
  return [...before, { lun, source: parseSource(place) }]
}

function parseSource(place: string): DiskArgument['source'] {
  if (/^nbds?(\+unix)?:/i.test(place)) return parseNbd(place)
  const [, name, rest] = /^([a-z0-9]+):(.+)$/s.exec(place) ?? []
  const format = name === undefined ? undefined : FORMATS[name]
  if (format !== undefined && rest !== undefined) return { kind: 'image', path: rest, format }
  if (name !== undefined && rest?.startsWith('//') === true) {
    throw new InvalidArgumentError(`There is no kind of source "${name}:". Give a file, a device, or an nbd URI.`)
  }
  return { kind: 'image', path: place, format: undefined }
}

function parseNbd(text: string): NbdPlace {
  const url = URL.parse(text)
  if (url === null || url.username !== '') throw new InvalidArgumentError('This is no NBD URI.')
  const exportName = decodeURIComponent(url.pathname.replace(/^\//, ''))
  if (url.protocol === 'nbd+unix:') {
    const socketPath = url.searchParams.get('socket')
    if (socketPath === null) throw new InvalidArgumentError('Write nbd+unix:///export?socket=/path.')
    return { kind: 'nbd', socketPath, exportName }
  }
  if (url.protocol !== 'nbd:' || url.hostname === '') throw new InvalidArgumentError('Write nbd://host[:port]/export.')
  return { kind: 'nbd-tcp', host: url.hostname, port: url.port === '' ? NBD_PORT : Number(url.port), exportName }
}
