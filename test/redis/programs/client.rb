# SPDX-License-Identifier: Apache-2.0
#
# Enqueues what work.rb has, waits for it with Sidekiq's own interface, and prints what it has seen as JSON.

require_relative 'work'
require 'sidekiq/api'
require 'sidekiq/scheduled'

SECONDS_MAX = 200

def told
  _, text = Sidekiq.redis { |redis| redis.blpop('told', timeout: SECONDS_MAX) }
  text && JSON.parse(text)
end

def wait
  ending = Process.clock_gettime(Process::CLOCK_MONOTONIC) + SECONDS_MAX
  until (found = yield)
    raise 'it has not come true' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > ending
    sleep 0.01
  end
  found
end

seen = {}
seen['id'] = Tell.perform_async('one', { 'utf8' => 'żółć' }, [1, 2.5, nil])
seen['one'] = told

Tell.perform_bulk((0...100).map { |n| [n] })
seen['bulk'] = Array.new(100) { told[0] }.sort
Urgent.perform_async('urgent')
seen['urgent'] = told

# The poller of the server looks every few seconds; here it is asked at once.
Tell.perform_in(24 * 3600, 'far')
scheduled = Sidekiq::ScheduledSet.new
seen['scheduled'] = scheduled.map { |job| job.args[0] }
Tell.perform_at(Time.now + 0.2, 'soon')
wait do
  Sidekiq::Scheduled::Enq.new.enqueue_jobs
  scheduled.size == 1
end
seen['soon'] = told
scheduled.each(&:add_to_queue)
seen['far'] = told

retries = Sidekiq::RetrySet.new
Flaky.perform_async('flaky')
seen['error'] = wait { retries.first }['error_message']
retries.retry_all
seen['flaky'] = told

Hopeless.perform_async
seen['dead'] = wait { Sidekiq::DeadSet.new.first }['error_message']

seen['processes'] = wait { Sidekiq::ProcessSet.new.first }['queues'].sort
seen['queues'] = Sidekiq::Queue.all.map(&:name).sort
seen['left'] = Sidekiq::Stats.new.enqueued
Sidekiq::DeadSet.new.clear
puts JSON.generate(seen)
