import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { run, testFolder } from './command-line.ts'

/** The names in the "Commands:" part of a help text. */
function subcommands(help: string): string[] {
  const [, part = ''] = help.split('\nCommands:\n')
  const lines = part.split('\n\n')[0]?.split('\n') ?? []
  return lines.flatMap((line) => /^ {2}([a-z-]+)/.exec(line)?.[1] ?? []).filter((name) => name !== 'help')
}

/** Whether a row of the manual begins with the command, alone or as one of `parent one\|two\|three`. */
function isDescribed(manual: string, name: string): boolean {
  const words = name.split(' ')
  const last = words.pop() ?? ''
  const parent = words.map((word) => `${word} `).join('')
  const pattern = new RegExp(String.raw`\`${parent}(?:[a-z-]+\\?\|)*${last}[ \`\\|]`)
  return manual.split('\n').some((line) => line.startsWith('| `') && pattern.test(line))
}

test('--help of every command shows its arguments and an example that begins with its own name', async () => {
  const folder = await testFolder()
  const seen: string[] = []
  const visit = async (path: readonly string[]): Promise<void> => {
    const { code, stdout, stderr } = await run(folder, [...path, '--help'])
    assert.deepEqual([code, stderr], [0, ''], path.join(' '))
    const children = subcommands(stdout)
    seen.push(path.join(' '))
    for (const child of children) await visit([...path, child])
    if (children.length > 0) return
    assert.match(stdout, /--output/, path.join(' '))
    const examples = stdout.split('\nExamples:\n')[1]?.trim().split('\n') ?? []
    assert.ok(examples.length > 0, `${path.join(' ')} has an example`)
    for (const example of examples) assert.match(example, new RegExp(`holdfast ${path.join(' ')}\\b`))
  }
  await visit([])
  const manual = await readFile(join(import.meta.dirname, '../../docs/cli.md'), 'utf8')
  const described = new Set(Array.from(manual.matchAll(/`(repo [a-z-]+) STORE/g), ([, name = '']) => name))
  const commands = seen.filter((name) => /^repo ./.test(name))
  assert.deepEqual(described, new Set(commands), 'docs/cli.md describes every command and no other')
  const leaves = seen.filter((name) => name !== '' && !seen.some((other) => other.startsWith(`${name} `)))
  for (const name of leaves.filter((leaf) => !leaf.startsWith('repo ')))
    assert.ok(isDescribed(manual, name), `docs/cli.md describes ${name}`)
})
