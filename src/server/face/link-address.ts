/**
 * Where the servers of other regions find this one: what the administrator said when linking (`--endpoint`), else the first of
 * `listen.names`, else where it listens; of an address that means "all", the host's name.
 */
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { type Catalog, findSetting } from '#catalog'

export const LINK_ENDPOINT_SETTING = 'link-endpoint'
const WILDCARDS = ['0.0.0.0', '::']

type Source = Readonly<{ catalog: Catalog; address: string; names: readonly string[]; caPath: string }>

export async function linkAddress(
  { catalog, address, names, caPath }: Source,
  url: string,
): Promise<Readonly<{ endpoint: string; authority: string }>> {
  const said = await findSetting(catalog, LINK_ENDPOINT_SETTING)
  const { port, origin } = new URL(url)
  const name = names[0] ?? (WILDCARDS.includes(address) ? hostname() : undefined)
  const listens = name === undefined ? origin : `https://${name}${port === '' ? '' : `:${port}`}`
  return { endpoint: said ?? listens, authority: await readFile(caPath, 'utf8') }
}
