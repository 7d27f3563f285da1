import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashPassword, sha512Crypt } from './sha512-crypt.ts'

/** The first and the third but one are of the specification's own test program; all are as OpenSSL's `passwd -6` has them. */
const KNOWN: readonly (readonly [password: string, salt: string, hash: string])[] = [
  [
    'Hello world!',
    'saltstring',
    '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1',
  ],
  [
    'This is just a test',
    'toolongsaltstrin',
    '$6$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0',
  ],
  ['pässwörd', 'ab', '$6$ab$MpxrX4b2nB2ONj1vFkTxO1WziUU7H5i50b94RpB.4R9rTnXToJEHZjpxG8xZMZoIP0oKonPlfDSUHBVy8G4yg.'],
  [
    'a very much longer text to encrypt.  This one even stretches over morethan one line.',
    'anotherlongsalts',
    '$6$anotherlongsalts$zCB2J77iwc/56nB80mcnR6gCDELuiqcwDzPCm3OZnzRQyxT9pVMJ2vfOf0YI0AvrvfVu.AqASga4nxwhEPO7Z0',
  ],
]

test('sha512Crypt() gives what crypt(3) gives', () => {
  for (const [password, salt, hash] of KNOWN) assert.equal(sha512Crypt(password, salt), hash)
})

test('hashPassword() takes a new salt each time', () => {
  let next = 0
  const random = { bytes: (length: number) => new Uint8Array(length).fill((next += 1)) }
  const one = hashPassword('correct horse', random)
  const other = hashPassword('correct horse', random)
  assert.notEqual(one, other)
  assert.equal(sha512Crypt('correct horse', one.split('$')[2] ?? ''), one)
})
