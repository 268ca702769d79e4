# GPT-2 124M as llm.c trains it, in the arguments of Megatron-LM.
# Source: karpathy/llm.c scripts/run_gpt2_124M.sh (its own C; GPT-2's model is Megatron's default).
ARGS=(
    --num-layers 12 --hidden-size 768 --num-attention-heads 12 --ffn-hidden-size 3072
    --vocab-size 50304 --seq-length 1024 --max-position-embeddings 1024
    --position-embedding-type learned_absolute
    --micro-batch-size 8 --global-batch-size 512 --train-iters 18865
    --lr 6e-4 --min-lr 0 --lr-warmup-iters 700 --lr-decay-style cosine
    --weight-decay 0.1 --adam-beta1 0.9 --adam-beta2 0.95 --adam-eps 1e-8 --clip-grad 1.0
)
