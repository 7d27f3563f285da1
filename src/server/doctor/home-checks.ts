/** The home: rights of its files, the configuration, the certificate, the catalog. */
import { X509Certificate } from 'node:crypto'
import { lstat, readdir, readFile, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Clock, errnoOf, formatBytes, GIB, isHoldfastError, isoTime } from '#base'
import type { CatalogInspection } from '#catalog'
import { closedAbove, findProcessUser, PROCESS_USER_NAME } from '#engine/hypervisor'
import { configPath, readConfigFile } from '../config/config-file.ts'
import { CONFIG_DEFAULTS } from '../config/read-config.ts'
import type { Config } from '../config/schema.ts'
import type { Home } from '../home.ts'
import { DAY_MS } from '../maintenance.ts'
import { failed, type Finding, warning, well } from './finding.ts'

const HOME_FREE_BYTES_MIN = GIB
const CERTIFICATE_WARN_MS = 14 * DAY_MS
const CLOCK_BACK_MS_MAX = 60_000
const NOT_FOR_OTHERS = 0o077
/** The group of QEMU's user may pass the home and not look (decision 41). */
const GROUP_PASSES = 0o010
const DEPTH_MAX = 3

async function* filesBelow(folder: string, depth = 0): AsyncGenerator<string> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    yield path
    if (entry.isDirectory() && depth < DEPTH_MAX && entry.name !== 'regions') yield* filesBelow(path, depth + 1)
  }
}

/** Keys and the catalog are their owner's alone; the folder around them too. */
export async function rightsFindings(home: Home): Promise<Finding[]> {
  const check = 'rights'
  const found: Finding[] = []
  const self = process.getuid?.()
  const user = await findProcessUser()
  const { mode, gid } = await lstat(home.folder)
  const allowed = gid === user?.gid ? GROUP_PASSES : 0
  if ((mode & NOT_FOR_OTHERS & ~allowed) !== 0)
    found.push(failed(check, `${home.folder} may be entered by others.`, `chmod 700 ${home.folder}`))
  const closed = user === undefined ? undefined : await closedAbove(home.folder, user)
  if (closed !== undefined)
    found.push(
      failed(check, `${PROCESS_USER_NAME}, who runs guests, cannot pass through ${closed}.`, `chmod o+x ${closed}`),
    )
  for await (const path of filesBelow(home.folder)) {
    const info = await lstat(path).catch(() => undefined) // Removed meanwhile by a server that runs.
    if (info === undefined) continue
    const secret = /^(keys|tls)$/.test(dirname(path).split('/').at(-1) ?? '') && !path.endsWith('.crt')
    if (secret && info.isFile() && (info.mode & NOT_FOR_OTHERS) !== 0)
      found.push(failed(check, `${path} holds a secret and may be read by others.`, `chmod 600 ${path}`))
    if (self !== undefined && info.uid !== self && self !== 0)
      found.push(failed(check, `${path} belongs to another user.`, `chown it to the server's user (uid ${self}).`))
  }
  if (found.length > 0) return found
  return [well(check, 'The home and what is secret in it are its owner’s alone.')]
}

export async function configFinding(home: Home): Promise<Readonly<{ config: Config; finding: Finding }>> {
  const check = 'configuration'
  const path = configPath(home)
  try {
    const config = await readConfigFile(path)
    return { config, finding: well(check, `${path} can be read.`) }
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    const remedy = error.hint ?? 'Correct the file.'
    return { config: CONFIG_DEFAULTS, finding: failed(check, error.message, remedy) }
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

export async function certificateFindings(home: Home, { tls }: Config, clock: Clock): Promise<Finding[]> {
  const files: [string, string, string][] =
    tls.certificate === null
      ? [
          [
            'certificate',
            join(home.folder, 'tls', 'server.crt'),
            'Start the server: it makes a new one, and looks every hour.',
          ],
          [
            'CA',
            join(home.folder, 'tls', 'ca.crt'),
            'Remove tls/ca.* and start the server; then give clients the new file.',
          ],
        ]
      : [['certificate', tls.certificate, 'Put a new one in its place and start the server again.']]
  const found: Finding[] = []
  for (const [check, path, remedy] of files) {
    const text = await readIfThere(path)
    if (text === undefined) {
      found.push(warning(check, `${path} is not there yet.`, 'Run "holdfast init", or start the server.'))
      continue
    }
    const endsMs = new X509Certificate(text).validToDate.getTime()
    const leftMs = endsMs - clock.nowMs()
    const says = `${path} is good until ${isoTime(endsMs)}.`
    if (leftMs <= 0) found.push(failed(check, `${path} ended at ${isoTime(endsMs)}.`, remedy))
    else found.push(leftMs < CERTIFICATE_WARN_MS ? warning(check, says, remedy) : well(check, says))
  }
  return found
}

export async function spaceFinding(home: Home): Promise<Finding> {
  const { bavail, bsize } = await statfs(home.folder)
  const freeBytes = bavail * bsize
  const says = `${formatBytes(freeBytes)} are free where the home lies.`
  if (freeBytes >= HOME_FREE_BYTES_MIN) return well('space of the home', says)
  return failed(
    'space of the home',
    says,
    `Free space there: the catalog and its log need ${formatBytes(HOME_FREE_BYTES_MIN)}.`,
  )
}

export function catalogFinding(home: Home, seen: CatalogInspection): Finding {
  const check = 'catalog'
  const [first] = seen.findings
  if (first !== undefined)
    return failed(
      check,
      `${home.catalog}: ${first}`,
      'Put it aside and copy the newest of backup/ in its place, or begin a new one: points are refilled from the repositories.',
    )
  if (seen.schema > seen.schemaKnown)
    return failed(
      check,
      `It is of schema ${seen.schema}; this program knows ${seen.schemaKnown}.`,
      'Use the newer Holdfast.',
    )
  const note = seen.schema < seen.schemaKnown ? ` The next start brings it to ${seen.schemaKnown}.` : ''
  return well(check, `It is whole, of schema ${seen.schema}.${note}`)
}

/** A clock that stands behind what was written down went back. */
export function clockFinding({ newestMs }: CatalogInspection, clock: Clock): Finding {
  const behindMs = (newestMs ?? 0) - clock.nowMs()
  if (behindMs <= CLOCK_BACK_MS_MAX) return well('clock', `It is ${isoTime(clock.nowMs())}.`)
  const says = `It is ${isoTime(clock.nowMs())} by this host, but a change was written down at ${isoTime(newestMs ?? 0)}.`
  return failed('clock', says, 'Put the clock right (NTP): schedules and retention are counted by it.')
}
