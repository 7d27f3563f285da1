/** What errors and the documents advise can be typed: the command is there, and so is each of its options. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Command } from 'commander'
import { makeProgram } from './program.ts'

const PROGRAM = makeProgram()

/** Advice in quotes (source) or backticks (documents): what is between them, from the first word after "holdfast" on. */
function advice(text: string): string[] {
  return Array.from(text.matchAll(/["`](?:bin\/)?holdfast ([a-z][^"`\n]*)["`]/g), ([, words = '']) => words).filter(
    (words) => !words.includes(String.raw`\0`) && words !== 'golden',
  )
}

/** What is wrong with the words; undefined when they can be typed. */
function wrongIn(words: string): string | undefined {
  const [first = '', ...rest] = words.split(/\s+/)
  let command = PROGRAM.commands.find((one) => one.name() === first)
  if (command === undefined) return `there is no command ${first}`
  for (const word of rest) {
    if (word.startsWith('${')) return undefined // put together: what follows depends on it
    const child: Command | undefined = command.commands.find((one) => one.name() === word)
    if (child !== undefined) command = child
    else if (command.commands.length > 0 && /^[a-z]+$/.test(word)) return `${command.name()} has no command ${word}`
    else if (word.startsWith('--')) {
      const name = word.split('=')[0]
      if (name !== '--help' && !command.options.some(({ long }) => long === name))
        return `${command.name()} has no ${name}`
    }
  }
  return undefined
}

test('Commands that hints and documents name exist, with their options', () => {
  const files = globSync(['src/**/*.ts', 'README.md', 'docs/**/*.md']).filter((file) => !file.endsWith('.test.ts'))
  const all = files.flatMap((file) => advice(readFileSync(file, 'utf8')).map((words) => ({ file, words })))
  assert.ok(all.length > 100, `${all.length} were found`)
  const wrong = all.flatMap(({ file, words }) => {
    const why = wrongIn(words)
    return why === undefined ? [] : [`${file}: "holdfast ${words}": ${why}`]
  })
  assert.deepEqual(wrong, [])
})

test('What cannot be typed is found', () => {
  assert.match(wrongIn('repo repair --from') ?? '', /no --from/)
  assert.match(wrongIn('repo mend STORE') ?? '', /no command mend/)
  assert.match(wrongIn('mend') ?? '', /no command mend/)
  assert.equal(wrongIn('repo repair STORE --mirror COPY'), undefined)
})
