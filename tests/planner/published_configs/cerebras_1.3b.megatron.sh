# Cerebras-GPT 1.3B, in the arguments of Megatron-LM.
# Source: Cerebras/modelzoo models/nlp/gpt3/configs/Cerebras_GPT (modelzoo's own words; a GPT-3
# model, Megatron's default).
ARGS=(
    --num-layers 24 --hidden-size 2048 --num-attention-heads 16 --ffn-hidden-size 8192
    --vocab-size 50257 --seq-length 2048 --max-position-embeddings 2048
    --position-embedding-type learned_absolute
    --micro-batch-size 8 --global-batch-size 528 --train-iters 24334
    --lr 2e-4 --min-lr 2e-5 --lr-warmup-iters 346 --lr-decay-style linear
    --weight-decay 0.1 --adam-beta1 0.9 --adam-beta2 0.95 --adam-eps 1e-8 --clip-grad 1.0
)
