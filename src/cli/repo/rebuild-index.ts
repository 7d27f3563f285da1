/** holdfast repo rebuild-index: throws this user's cached index away and makes it anew from the repository. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from 'commander'
import { runCommandHandler } from '../command.ts'
import { makeEnvironment, makeRepoCommand, type RepoOptions, withRepository } from './open.ts'

export function rebuildIndexCommand(): Command {
  return makeRepoCommand({
    usage: 'rebuild-index <store>',
    summary: 'make the cached index anew',
    description:
      'The index only caches what packs say of themselves; it may be lost at any time. Rebuild it when the cache folder was ' +
      'damaged. The repository itself is only read.',
    examples: ['holdfast repo rebuild-index /srv/backup'],
  }).action((location: string, options: RepoOptions) =>
    runCommandHandler(options, (context) =>
      withRepository(location, options, context, async ({ repository }) => {
        const { cacheFolder } = await makeEnvironment(options, context)
        await rm(join(cacheFolder, repository.config.id, 'index'), { recursive: true, force: true })
        await repository.index()
        const packs = repository.log.state.packs.filter(({ status }) => status !== 'deleted').length
        context.output.result({ schema: 1, packs }, () => `The index of ${packs} packs was made anew.`)
      }),
    ),
  )
}
