/**
 * The file vmbackup.conf of a guest, as Azure's Linux extension reads it: section [SnapshotThread], keys without case, `=` or
 * `:`. It says which file systems are not frozen, how long freezing may take, and whether it is done at all. Pure.
 * Other keys, sections and lines say nothing to us.
 */

export const FREEZE_SETTINGS_PATH = '/etc/azure/vmbackup.conf'

export type FreezeSettings = Readonly<{
  freezes: boolean
  /** Mount points, without a slash at the end. */
  skips: readonly string[]
  waitMs: number | undefined
}>

/** A guest that stands still for longer is no backup but an outage. */
const WAIT_SECONDS_MAX = 600
const LINE = /^\s*([A-Za-z]+)\s*[=:]\s*(.*?)\s*$/

function valuesIn(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  let section = ''
  for (const line of text.split(/\r?\n/)) {
    const header = /^\s*\[([^\]]+)\]\s*(.*)$/.exec(line)
    if (header !== null) section = header[1]?.trim() ?? ''
    // Azure's own example has the first key on the line of the section's name.
    const [, key, value] = LINE.exec(header === null ? line : (header[2] ?? '')) ?? []
    if (section === 'SnapshotThread' && key !== undefined) values.set(key.toLowerCase(), value ?? '')
  }
  return values
}

/** As Python's ConfigParser reads a flag; what is none is no reason to freeze nothing. */
const NO = /^(false|no|off|0)$/i

export function readFreezeSettings(text: string): FreezeSettings {
  const values = valuesIn(text)
  const seconds = Number(values.get('safefreezewaitinseconds') ?? Number.NaN)
  return {
    freezes: !NO.test(values.get('fsfreeze') ?? ''),
    skips: (values.get('mountstoskip') ?? '')
      .split(',')
      .map((mount) => mount.trim().replace(/(?<=.)\/+$/, ''))
      .filter((mount) => mount.startsWith('/')),
    waitMs: Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, WAIT_SECONDS_MAX) * 1_000 : undefined,
  }
}
