/** `list`, `show` and `delete` of a kind of resource, where kinds differ in their words only. */
import type { Command } from 'commander'
import { makeApiCommand, runApiCommand, type WaitOptions, withWaitOption } from './api-command.ts'
import type { ConfirmOptions } from './confirm.ts'
import { deleteTargets, type Kind, showTargets } from './one-or-many.ts'
import { type GroupOptions, listPath, type TargetOptions, withGroupOption, withTargetOptions } from './targets.ts'

type Examples = readonly [string, ...string[]]
export type KindWords = Readonly<{ summary?: string; description?: string; examples: Examples }>
export type ListOptions = GroupOptions & Readonly<{ all?: boolean }>

/** The words and options of every `list`; what it does is the caller's. */
export function listing({ word }: Pick<Kind<never>, 'word'>, examples: Examples): Command {
  const command = makeApiCommand({
    usage: 'list',
    summary: `${word}s of a group, or of all groups`,
    description: `Shows the ${word}s of the group that is named or is the default; of all groups without either, or with --all.`,
    examples,
  }).option('-a, --all', 'of all groups, whatever the default')
  return withGroupOption(command)
}

export function listCommand<T>(kind: Kind<T>, examples: Examples): Command {
  return listing(kind, examples).action((options: ListOptions) =>
    runApiCommand(options, async (context) =>
      kind.many(await context.client.list<T>(await listPath(context, kind.type, options))),
    ),
  )
}

export function showCommand<T>(kind: Kind<T>, { summary = `one ${kind.word} in full`, ...words }: KindWords): Command {
  const command = makeApiCommand({ usage: 'show [name]', summary, ...words })
  return withTargetOptions(command).action((name: string | undefined, options: TargetOptions) =>
    runApiCommand(options, (context) => showTargets(context, kind, name, options)),
  )
}

export function deleteCommand<T>(kind: Kind<T>, words: KindWords): Command {
  const command = makeApiCommand({ usage: 'delete [name]', summary: `delete ${kind.word}s`, ...words })
  return withWaitOption(withTargetOptions(command.option('-y, --yes', 'do not ask'))).action(
    (name: string | undefined, options: TargetOptions & WaitOptions & ConfirmOptions) =>
      runApiCommand(options, (context) => deleteTargets(context, kind, name, options)),
  )
}
