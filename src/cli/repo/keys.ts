/** holdfast repo keys: the ways of opening a repository. Adding or removing one rewrites no data. */
import { Argument, type Command } from 'commander'
import type { KeySlot } from '#engine/repository'
import { askCredential } from '../credential.ts'
import { type CommandContext, runCommandHandler } from '../command.ts'
import { CliError } from '../errors.ts'
import { textTable } from '../text-table.ts'
import { makeRepoCommand, type RepoOptions, withRepository } from './open.ts'
import { timeText } from './point-json.ts'

type KeysCommandOptions = RepoOptions & Readonly<{ label?: string }>
type Act = (
  location: string,
  slot: string | undefined,
  options: KeysCommandOptions,
  context: CommandContext,
) => Promise<void>

const ACTS: Readonly<Record<'list' | 'add' | 'remove', Act>> = { list: listSlots, add: addSlot, remove: removeSlot }

export function keysCommand(): Command {
  const command = makeRepoCommand({
    usage: 'keys <store>',
    summary: 'list, add and remove ways of opening the repository',
    description:
      'A repository has one key, wrapped once per passphrase or key file ("slot"). The new one is asked for, or comes from ' +
      'HOLDFAST_NEW_KEY_FILE, HOLDFAST_NEW_PASSPHRASE_FILE or HOLDFAST_NEW_PASSPHRASE. The last slot cannot be removed. ' +
      'Whoever knew a removed passphrase and kept a copy of its slot can still open the repository with it.',
    examples: [
      'holdfast repo keys /srv/backup',
      'HOLDFAST_NEW_KEY_FILE=/safe/key holdfast repo keys /srv/backup add --label safe',
      'holdfast repo keys /srv/backup remove 8d20f31c55aa0b1e',
    ],
  })
  return command
    .addArgument(new Argument('[action]', 'what to do').choices(Object.keys(ACTS)).default('list'))
    .argument('[slot]', 'id of the slot to remove')
    .option('--label <text>', 'name of the slot to add')
    .action((location: string, action: keyof typeof ACTS, slot: string | undefined, options: KeysCommandOptions) =>
      runCommandHandler(options, (context) => ACTS[action](location, slot, options, context)),
    )
}

async function listSlots(
  location: string,
  _slot: string | undefined,
  _options: KeysCommandOptions,
  { output }: CommandContext,
): Promise<void> {
  const { listKeySlots, openStore, readConfig } = await import('#engine/repository')
  const store = await openStore(location)
  try {
    const { id: repositoryId } = await readConfig(store)
    const slots = await listKeySlots(store, repositoryId)
    output.result(slots.map(slotJson), () =>
      textTable(
        ['SLOT', 'KIND', 'LABEL', 'CREATED AT (UTC)'],
        slots.map(({ id, kind, label, createdAt }) => [id, kind, label, timeText(createdAt)]),
      ),
    )
  } finally {
    await store.close()
  }
}

/** Never the wrapped key: it is no secret without the passphrase, but nobody needs it here. */
function slotJson({ id, kind, label, createdAt }: KeySlot): Record<string, unknown> {
  return { id, kind, label, createdAt }
}

function addSlot(
  location: string,
  _slot: string | undefined,
  options: KeysCommandOptions,
  context: CommandContext,
): Promise<void> {
  return withRepository(location, options, context, async ({ repository, store }) => {
    const { addKeySlot, isoOf } = await import('#engine/repository')
    const { systemClock, systemRandom } = await import('#runtime')
    const credential = await askCredential({ confirm: true, question: 'New passphrase to add', prefix: 'NEW_' })
    const slot = await addKeySlot(store, repository.keys.master, {
      repositoryId: repository.config.id,
      credential,
      label: options.label ?? 'added',
      nowIso: isoOf(systemClock.nowMs()),
      random: systemRandom,
    })
    context.output.result(slotJson(slot), () => `Added slot ${slot.id} (${slot.kind}).`)
  })
}

/** The repository is opened first, by another slot: who removes a way of opening it must have one that works. */
function removeSlot(
  location: string,
  slot: string | undefined,
  options: KeysCommandOptions,
  context: CommandContext,
): Promise<void> {
  if (slot === undefined)
    throw new CliError('usage_invalid', 'Name the slot to remove.', { hint: 'See "holdfast repo keys STORE".' })
  return withRepository(location, options, context, async ({ store, repository }) => {
    const { listKeySlots, removeKeySlot, RepositoryError } = await import('#engine/repository')
    const others = (await listKeySlots(store, repository.config.id)).filter(({ id }) => id !== slot)
    if (repository.openedBy === slot && others.length > 0)
      throw new RepositoryError('key_slot_in_use', `Slot ${slot} is the one that opened the repository just now.`, {
        facts: { slot },
        hint: 'Open it with the passphrase or key file that is to stay, and remove this one then: so it is certain that another way works.',
      })
    await removeKeySlot(store, repository.config.id, slot)
    context.output.result({ removed: slot }, () => `Removed slot ${slot}.`)
  })
}
