/**
 * The script that a Linux client looks into a recovery point with (recover-files.py), filled in for one session. `az` cuts the
 * password out of the name and the script: the name is `{machine}_{32 characters}{15 characters of password}`, and the script holds
 * the line `TargetPassword="..."` (azure.md, 3.4).
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isoTime } from '#base'

export type ScriptFor = Readonly<{
  machine: string
  session: string
  password: string
  point: string
  expiresMs: number
  endpoint: string
  /** PEM of who signs the server's certificate. */
  authority: string
}>

export type ClientScript = Readonly<{
  osType: 'Linux'
  scriptContent: string
  scriptExtension: '.py'
  scriptNameSuffix: string
  url: null
}>

const PLACES = /@(PASSWORD|ENDPOINT|SESSION|POINT|EXPIRES|AUTHORITY)@/g

/** What stands between the quotes of the script must not end them. */
function plain(text: string): string {
  return text.replaceAll(/[^\x20-\x7e\n]|["\\]/g, '')
}

export async function clientScript(wanted: ScriptFor): Promise<ClientScript> {
  const { machine, session, password, point, expiresMs, endpoint, authority } = wanted
  const source = await readFile(join(import.meta.dirname, 'recover-files.py'), 'utf8')
  const values: Readonly<Record<string, string>> = {
    PASSWORD: password,
    ENDPOINT: endpoint,
    SESSION: session,
    POINT: point,
    EXPIRES: isoTime(expiresMs),
    AUTHORITY: authority,
  }
  const text = source.replace(PLACES, (_, place: string) => plain(values[place] ?? ''))
  const name = machine.replaceAll(/[^A-Za-z0-9-]/g, '-')
  return {
    osType: 'Linux',
    scriptContent: Buffer.from(text).toString('base64'),
    scriptExtension: '.py',
    scriptNameSuffix: `ILR_${name}_${session.replaceAll('-', '')}${password}`,
    url: null,
  }
}
