/** The home that a command works on: --home, else HOLDFAST_HOME, else the default place. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { ControlClient, Home } from '#server'
import { type CommandText, makeCommand, type SharedOptions } from '../command.ts'

export type HomeOptions = SharedOptions & Readonly<{ home?: string }>

export function makeHomeCommand(text: CommandText): Command {
  return makeCommand(text).option(
    '--home <folder>',
    "the server's folder (default: HOLDFAST_HOME, else $XDG_STATE_HOME/holdfast; /var/lib/holdfast for root)",
  )
}

/** @throws ServerError `home_unusable` */
export async function homeOf({ home }: Readonly<{ home?: string }>): Promise<Home> {
  const { homeFolder, openHome } = await import('#server')
  return openHome(home === undefined ? homeFolder(process.env, process.getuid?.() === 0) : resolve(home))
}

/** Opens the way to the server, runs `use`, closes. @throws ServerError `serve_not_running` */
export async function withControl<T>(
  options: Readonly<{ home?: string }>,
  use: (control: ControlClient) => Promise<T>,
): Promise<T> {
  const { openControl } = await import('#server')
  const control = await openControl(await homeOf(options))
  try {
    return await use(control)
  } finally {
    control.close()
  }
}
