import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseInfoNetwork } from './foreign-network.ts'

test('parseInfoNetwork() finds what a card is attached to, and takes no card for a backend', () => {
  const text = [
    'virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56',
    ' \\ net0: index=0,type=tap,ifname=tap0,script=no,downscript=no',
    'e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:57',
    'hub 0',
    ' \\ n1: virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56',
    'alone: index=0,type=user,net=10.0.2.0,restrict=off',
    'nonsense',
  ].join('\r\n')
  const backends = parseInfoNetwork(text)
  assert.equal(backends.get('net0'), 'type=tap,ifname=tap0,script=no,downscript=no')
  assert.equal(backends.get('alone'), 'type=user,net=10.0.2.0,restrict=off')
  assert.equal(backends.has('e1000.0'), false)
  assert.equal(parseInfoNetwork('').size, 0)
})
