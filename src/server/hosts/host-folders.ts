/** Folders of a host elsewhere, by its worker. Devices carry the host's name: two hosts number theirs alike. */
import { PROGRAM_VERSION } from '#base'
import { type RpcAddress, RpcClient } from '#runtime'
import type { FolderFacts, Folders } from '../places/check-folder.ts'
import type { HostKey } from './host-key.ts'

/** Whoever looks at a list does not wait for a host that hangs. */
const ANSWER_MS_MAX = 10_000

export function foldersOf(key: HostKey, address: RpcAddress): Folders {
  const ask = async (method: string, params: unknown): Promise<unknown> => {
    const client = await RpcClient.open(address, 'control', PROGRAM_VERSION)
    try {
      return await client.call(method, params, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    } finally {
      client.close()
    }
  }
  const facts = async (method: string, params: unknown): Promise<FolderFacts> => {
    const found = (await ask(method, params)) as FolderFacts
    return { ...found, device: `${key}:${found.device}` }
  }
  return {
    facts: (path) => facts('folder.facts', { path }),
    prepare: (path, reserveBytes) => facts('folder.prepare', { path, reserveBytes }),
    real: async (path) => (await ask('folder.real', { path })) as string,
    contents: async (path) => (await ask('folder.contents', { path })) as string[],
  }
}
